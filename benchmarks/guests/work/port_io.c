// Port accesses: writes to the POST port, reads of the CMOS data port.
#include "../guest.h"
u64 work(u64 n) {
    u64 s = 0;
    outb(0x70, 0x0f);
    for (u64 i = 0; i < n; i++) { outb(0x80, (u8)i); s += inb(0x71) == 0 ? 1 : 1; }
    return s;
}
