// Indirect calls through a table of functions.
#include "../guest.h"
#define F(i) static __attribute__((noinline)) u64 f##i(u64 x) { return x * (2 * i + 1) + i; }
F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
u64 work(u64 n) {
    u64 (*volatile table[8])(u64) = {f0, f1, f2, f3, f4, f5, f6, f7};
    u64 s = 1;
    for (u64 i = 0; i < n; i++) s = table[(s >> 7) & 7](s);
    return s;
}
