// Timer interrupts: n ticks of the PIT at 10 kHz through the PIC, waited for with HLT.
#include "../guest.h"
volatile u64 ticks;
void on_tick(void);
__asm__("on_tick: push %rax; incq ticks; mov $0x20, %al; outb %al, $0x20; pop %rax; iretq");
void setup(void) {
    set_gate(0x20, on_tick);
    outb(0x20, 0x11); outb(0xa0, 0x11); outb(0x21, 0x20); outb(0xa1, 0x28); outb(0x21, 4); outb(0xa1, 2); outb(0x21, 1); outb(0xa1, 1);
    outb(0x21, 0xfe); outb(0xa1, 0xff);
    outb(0x43, 0x34); outb(0x40, 119); outb(0x40, 0);
}
u64 work(u64 n) {
    while (ticks < n) __asm__ volatile("sti; hlt; cli" ::: "memory");
    return n;
}
