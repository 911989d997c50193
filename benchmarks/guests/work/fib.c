// Call-heavy recursion.
#include "../guest.h"
static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls,no-tree-tail-merge"))) u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
u64 work(u64 n) {
    u64 s = 0;
    for (u64 r = 0; r < n; r++) s += fib(24 + (r & 1));
    return s;
}
