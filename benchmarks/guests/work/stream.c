// Memory streams: triad over three arrays of 1 MiB.
#include "../guest.h"
u64 work(u64 n) {
    u64 *a = (u64 *)HEAP, *b = (u64 *)(HEAP + 0x180000), *c = (u64 *)(HEAP + 0x320000);
    for (int i = 0; i < 131072; i++) { b[i] = i; c[i] = 3 * i; }
    for (u64 r = 0; r < n; r++) for (int i = 0; i < 131072; i++) a[i] = b[i] + 3 * c[i] + r;
    return a[77] + a[131000];
}
