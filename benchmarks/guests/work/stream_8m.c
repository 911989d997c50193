// The same with four arrays exactly 8 MiB apart: direct-mapped TLBs thrash.
#include "../guest.h"
u64 work(u64 n) {
    u64 *a = (u64 *)HEAP, *b = (u64 *)(HEAP + 0x800000), *c = (u64 *)(HEAP + 0x1000000), *d = (u64 *)(HEAP + 0x1800000);
    for (int i = 0; i < 131072; i++) { b[i] = i; c[i] = 3 * i; d[i] = 5 * i; }
    for (u64 r = 0; r < n; r++) for (int i = 0; i < 131072; i++) a[i] = b[i] + 3 * c[i] + d[i] + r;
    return a[77] + a[131000];
}
