// Integer matrix multiply, 64 x 64.
#include "../guest.h"
u64 work(u64 n) {
    u32 (*a)[64] = (void *)HEAP, (*b)[64] = (void *)(HEAP + 0x10000), (*c)[64] = (void *)(HEAP + 0x20000);
    for (int i = 0; i < 64; i++) for (int j = 0; j < 64; j++) { a[i][j] = i * 3 + j; b[i][j] = i ^ j; }
    u64 s = 0;
    for (u64 r = 0; r < n; r++) {
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 64; j++) { u32 t = 0; for (int k = 0; k < 64; k++) t += a[i][k] * b[k][j]; c[i][j] = t; }
        a[r & 63][3] ^= c[5][7];
        s += c[9][(r * 5) & 63];
    }
    return s;
}
