// REP MOVS, STOS and SCAS over 64 KiB.
#include "../guest.h"
u64 work(u64 n) {
    u64 s = 0;
    for (u64 r = 0; r < n; r++) {
        void *d = HEAP, *e = HEAP + 0x20000;
        const void *f = HEAP;
        u64 c = 65536;
        __asm__ volatile("rep stosb" : "+D"(d), "+c"(c) : "a"((int)(r & 0x7f) | 1) : "memory");
        c = 8192;
        __asm__ volatile("rep movsq" : "+D"(e), "+S"(f), "+c"(c)::"memory");
        HEAP[0x20000 + 60000] = 0;
        e = HEAP + 0x20000; c = 65536;
        __asm__ volatile("repne scasb" : "+D"(e), "+c"(c) : "a"(0) : "memory", "cc");
        s += c;
    }
    return s;
}
