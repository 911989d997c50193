// Wide, branchy code: a small byte-code interpreter with a jump table.
#include "../guest.h"
u64 work(u64 n) {
    u8 *code = HEAP;
    u32 x = 99;
    for (int i = 0; i < 4096; i++) { x = x * 1103515245 + 12345; code[i] = (u8)(x >> 16) % 16; }
    u64 r[4] = {1, 2, 3, 4}, stack[16];
    u32 sp = 0;
    for (u64 k = 0; k < n; k++)
        for (u32 pc = 0; pc < 4096; pc++)
            switch (code[pc]) {
            case 0: r[0] += r[1]; break;
            case 1: r[1] ^= r[2] << 3; break;
            case 2: r[2] -= r[3]; break;
            case 3: r[3] = r[0] * 5; break;
            case 4: stack[sp++ & 15] = r[0]; break;
            case 5: r[1] = stack[--sp & 15]; break;
            case 6: if (r[0] & 1) r[2]++; break;
            case 7: r[0] = r[0] >> 5 | r[0] << 59; break;
            case 8: r[2] |= r[1] & 0xff; break;
            case 9: r[3] += pc; break;
            case 10: if (r[1] > r[2]) r[1] -= r[2]; break;
            case 11: r[0] = ~r[0]; break;
            case 12: r[2] *= 3; break;
            case 13: stack[sp & 15] ^= r[3]; break;
            case 14: r[3] -= 7; break;
            default: r[0] ^= r[3]; break;
            }
    return r[0] + r[1] + r[2] + r[3];
}
