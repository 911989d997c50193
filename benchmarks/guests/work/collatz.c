// Data-dependent branches: lengths of Collatz sequences.
#include "../guest.h"
u64 work(u64 n) {
    u64 longest = 0, total = 0;
    for (u64 i = 1; i <= n; i++) {
        u64 x = i, steps = 0;
        while (x != 1) { x = x & 1 ? 3 * x + 1 : x >> 1; steps++; }
        total += steps;
        if (steps > longest) longest = steps;
    }
    return total * 1000 + longest;
}
