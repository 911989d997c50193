// Code that is run once: 1 MiB of fresh straight-line functions, made anew each round.
#include "../guest.h"
u64 work(u64 n) {
    u64 s = 0;
    for (u64 r = 0; r < n; r++) {
        u8 *p = HEAP;
        for (u32 f = 0; f < 16384; f++, p += 64) {
            u8 *q = p;
            q[0] = 0x89; q[1] = 0xf8; q += 2;                                                // mov eax, edi
            for (int k = 0; k < 8; k++) { *q++ = 0x05; *(u32 *)q = (u32)(f + k + r); q += 4; }  // add eax, imm32
            *q++ = 0x31; *q++ = 0xf8;                                                        // xor eax, edi
            *q = 0xc3;
        }
        for (u32 f = 0; f < 16384; f++) s += ((u32(*)(u32))(HEAP + f * 64))((u32)s);
    }
    return s;
}
