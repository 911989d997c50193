// INT n and IRETQ.
#include "../guest.h"
u64 count;
void on_int(void);
__asm__("on_int: incq count; iretq");
void setup(void) { set_gate(0x40, on_int); }
u64 work(u64 n) {
    for (u64 i = 0; i < n; i++) __asm__ volatile("int $0x40" ::: "memory");
    return count;
}
