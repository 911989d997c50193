// SSE2 matrix multiply, 64 x 64 doubles, two at a time.
#include "../guest.h"
#include <emmintrin.h>
u64 work(u64 n) {
    double (*a)[64] = (void *)HEAP, (*b)[64] = (void *)(HEAP + 0x10000), (*c)[64] = (void *)(HEAP + 0x20000);
    for (int i = 0; i < 64; i++) for (int j = 0; j < 64; j++) { a[i][j] = i + j * 0.5; b[i][j] = i * 0.25 - j; }
    for (u64 r = 0; r < n; r++) {
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 64; j += 2) {
                __m128d t = _mm_setzero_pd();
                for (int k = 0; k < 64; k++) t = _mm_add_pd(t, _mm_mul_pd(_mm_set1_pd(a[i][k]), _mm_load_pd(&b[k][j])));
                _mm_store_pd(&c[i][j], t);
            }
        a[r & 63][3] += 1.0;
    }
    double s = 0;
    for (int i = 0; i < 64; i++) s += c[i][i];
    return (u64)(i64)s;
}
