// Linear address translation and the slow memory accessors (SDM Vol. 3A chapter 4).  Included at the end of cpu.h.
#pragma once
#include "memory.h"

enum Access : u8 { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };

struct Translation {
    u64 pa;
    u64 page_size;
    bool user, writable, no_exec, global;  // of the whole path
};

// #PF error code bits.
enum : u32 { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

// Walks the page tables for an access with the rights of `set`; sets accessed and dirty bits.  Returns true and fills *out, or
// returns false and *error is the #PF error code.  `probe`: touch nothing (debuggers), check nothing but presence.
bool walk(Cpu &cpu, u64 lin, Access access, TlbSet set, Translation *out, u32 *error, bool probe = false);

// Translates (raising #PF) and fills the TLB entry where the rules allow.  Returns the physical address.
u64 translate(Cpu &cpu, u64 lin, Access access, TlbSet set);
// The same for handlers, without a C++ exception: returns false with *fault filled.
bool translate_quietly(Cpu &cpu, u64 lin, Access access, TlbSet set, GuestFault *fault);

void tlb_flush(Cpu &cpu);                 // everything
void tlb_flush_page(Cpu &cpu, u64 lin);   // INVLPG

inline TlbSet data_set(const Cpu &cpu) { return TlbSet((cpu.tlb - &cpu.tlbs[0][0]) / TLB_SIZE); }

// Host address of a code byte, or nullptr if it lies in device space or nowhere; raises #PF.  Canonicality and CS limit are the caller's.
u8 *fetch_host(Cpu &cpu, u64 lin);
// Code byte by byte, from anywhere (page-crossing instructions, code in device space).
u8 fetch_byte(Cpu &cpu, u64 lin);

// Plain linear accesses with the rights of `set`; any alignment, page-crossing and device space handled; raise #PF.
// Segment and canonicality checks are done by the caller (operands.h).
u64 read_slow(Cpu &cpu, u64 lin, unsigned size, TlbSet set);
void write_slow(Cpu &cpu, u64 lin, u64 value, unsigned size, TlbSet set);
void read_bytes(Cpu &cpu, u64 lin, void *data, unsigned size, TlbSet set);    // size <= 4096; all pages checked before any effect
void write_bytes(Cpu &cpu, u64 lin, const void *data, unsigned size, TlbSet set);
void probe_write(Cpu &cpu, u64 lin, unsigned size, TlbSet set);  // raises #PF if a write would (read-modify-write, ENTER, ...)
// Host pointer for a run of bytes within one page of RAM for string operations: nullptr if the slow way must be taken.
// *count is reduced to what fits the page.
u8 *host_run(Cpu &cpu, u64 lin, Access access, TlbSet set, u64 *bytes);

template <class T> ALWAYS_INLINE T read_lin(Cpu &cpu, u64 lin, TlbSet set) {
    TlbEntry &e = cpu.tlbs[set][tlb_index(lin)];
    if (LIKELY(((lin + sizeof(T) - 1) & ~u64(0xfff)) == e.read)) return load_host<T>(reinterpret_cast<const u8 *>(lin + e.addend));
    return T(read_slow(cpu, lin, sizeof(T), set));
}
template <class T> ALWAYS_INLINE void write_lin(Cpu &cpu, u64 lin, T value, TlbSet set) {
    TlbEntry &e = cpu.tlbs[set][tlb_index(lin)];
    if (LIKELY(((lin + sizeof(T) - 1) & ~u64(0xfff)) == e.write)) store_host<T>(reinterpret_cast<u8 *>(lin + e.addend), value);
    else write_slow(cpu, lin, value, sizeof(T), set);
}
template <class T> T read_lin(Cpu &cpu, u64 lin) { return read_lin<T>(cpu, lin, data_set(cpu)); }
template <class T> void write_lin(Cpu &cpu, u64 lin, T value) { write_lin<T>(cpu, lin, value, data_set(cpu)); }
// Implicit supervisor accesses: descriptor tables, TSS, interrupt stacks (SDM Vol. 3A 4.6.1).
template <class T> T read_sys(Cpu &cpu, u64 lin) { return read_lin<T>(cpu, lin, TLB_KERNEL); }
template <class T> void write_sys(Cpu &cpu, u64 lin, T value) { write_lin<T>(cpu, lin, value, TLB_KERNEL); }
