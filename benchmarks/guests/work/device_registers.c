// Registers of many devices, as drivers use them: CMOS by index, interrupt masks, task priority, ends of interrupts, the PM timer of no
// machine in particular (counted reads of the PIT instead).
#include "../guest.h"
u64 work(u64 n) {
    volatile u32 *apic = (u32 *)0xfee00000ul;
    u64 s = 0;
    for (u64 i = 0; i < n; i++) {
        outb(0x70, 0x10 + i % 32);
        s += inb(0x71) & 0;
        s += inb(0x21) & 0;
        outb(0x21, 0xff);
        outb(0xed, (u8)i);
        apic[0x80 / 4] = (i & 7) << 4;
        apic[0xb0 / 4] = 0;
        outb(0x43, 0);
        s += inb(0x40) & 0;
        s += inb(0x40) & 0;
    }
    apic[0x80 / 4] = 0;
    return n + s;
}
