// #PF: touch a not-present page, the handler maps it, the loop unmaps it again.
#include "../guest.h"
u64 table[512] __attribute__((aligned(4096)));
u64 faults;
extern u64 pd[];
#define PAGE 0x40000000ul
void on_fault(void);
__asm__("on_fault: push %rax; push %rdx; mov %cr2, %rax; shr $12, %rax; and $511, %rax;"
        "mov $0x2000003, %rdx; mov %rdx, table(,%rax,8); incq faults; pop %rdx; pop %rax; add $8, %rsp; iretq");
void setup(void) {
    set_gate(14, on_fault);
    pd[512] = (u64)table | 3;
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax");
}
u64 work(u64 n) {
    u64 s = 0;
    for (u64 i = 0; i < n; i++) {
        volatile u64 *p = (u64 *)(PAGE + (i & 511) * 4096);
        s += *p;
        table[i & 511] = 0;
        __asm__ volatile("invlpg (%0)" ::"r"(p) : "memory");
    }
    return faults;
}
