// Recursive quicksort of 64 Ki words.
#include "../guest.h"
static void sort(u32 *a, i64 lo, i64 hi) {
    while (lo < hi) {
        u32 p = a[(lo + hi) / 2];
        i64 i = lo, j = hi;
        while (i <= j) {
            while (a[i] < p) i++;
            while (a[j] > p) j--;
            if (i <= j) { u32 t = a[i]; a[i] = a[j]; a[j] = t; i++; j--; }
        }
        sort(a, lo, j);
        lo = i;
    }
}
u64 work(u64 n) {
    u32 *a = (u32 *)HEAP, x = 12345;
    u64 s = 0;
    for (u64 r = 0; r < n; r++) {
        for (int i = 0; i < 65536; i++) { x = x * 1664525 + 1013904223; a[i] = x; }
        sort(a, 0, 65535);
        s = s * 31 + a[777] + a[65000];
    }
    return s;
}
