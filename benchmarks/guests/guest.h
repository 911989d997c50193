// What every benchmark guest has: types, ports, the marks around the measured part, and interrupts.
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

static inline void outb(u16 port, u8 v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline u8 inb(u16 port) { u8 v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline void outl(u16 port, u32 v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }

// Memory that a workload may use, far from the image.
#define HEAP ((u8 *)0x01000000ul)

// The workload: does `n` rounds and returns a checksum, which must be equal on every emulator.
u64 work(u64 n);
extern const u64 ROUNDS;  // given by the build
void setup(void);         // before the measured part

// An interrupt handler in assembly (saves what it uses, ends with iretq).
void set_gate(int vector, void (*handler)(void));
