// x87 arithmetic: a series and square roots in 80-bit precision.
#include "../guest.h"
u64 work(u64 n) {
    long double s = 0, x = 1;
    for (u64 i = 0; i < n; i++) {
        x = x * 1.0000001L + 0.25L;
        long double q;
        __asm__("fsqrt" : "=t"(q) : "0"(x));
        s += 1.0L / (q + (long double)(int)(i & 1023));
    }
    return (u64)(s * 1000);
}
