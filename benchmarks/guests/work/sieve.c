// Sieve of Eratosthenes over one million bytes.
#include "../guest.h"
u64 work(u64 n) {
    u64 count = 0;
    for (u64 r = 0; r < n; r++) {
        for (u32 i = 0; i < 1000000; i++) HEAP[i] = 1;
        for (u32 i = 2; i < 1000; i++)
            if (HEAP[i]) for (u32 j = i * i; j < 1000000; j += i) HEAP[j] = 0;
        for (u32 i = 2; i < 1000000; i++) count += HEAP[i];
    }
    return count;
}
