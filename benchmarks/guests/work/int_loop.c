// Integer arithmetic in a tight loop: xorshift and a multiply.
#include "../guest.h"
u64 work(u64 n) {
    u64 x = 0x9e3779b97f4a7c15, s = 0;
    for (u64 i = 0; i < n; i++) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        s += (x >> 3) + i;
        if (s & 64) s ^= x;
    }
    return s;
}
