// CR3 reloads with a working set of 16 pages after each.
#include "../guest.h"
u64 work(u64 n) {
    u64 s = 0;
    for (u64 i = 0; i < n; i++) {
        __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
        for (int k = 0; k < 16; k++) { HEAP[k * 4096]++; s += HEAP[k * 4096]; }
    }
    return s;
}
