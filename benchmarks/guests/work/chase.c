// Pointer chasing through 4 MiB in random order.
#include "../guest.h"
void setup(void) {
    u32 *p = (u32 *)HEAP, x = 1;
    for (u32 i = 0; i < 1 << 20; i++) p[i] = i;
    for (u32 i = (1 << 20) - 1; i; i--) { x = x * 1664525 + 1013904223; u32 j = (u32)(((u64)x * i) >> 32), t = p[i]; p[i] = p[j]; p[j] = t; }
}
u64 work(u64 n) {
    u32 *p = (u32 *)HEAP, i = 0;
    u64 s = 0;
    for (u64 r = 0; r < n; r++) { i = p[i]; s += i; }
    return s;
}
