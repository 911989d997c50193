// MMIO accesses: reads of the local APIC's version register, writes of its task priority.
#include "../guest.h"
u64 work(u64 n) {
    volatile u32 *apic = (u32 *)0xfee00000ul;
    u64 s = 0;
    for (u64 i = 0; i < n; i++) { apic[0x80 / 4] = 0x10; s += (apic[0x80 / 4] & 0xf0) != 0; }
    apic[0x80 / 4] = 0;
    return s;
}
