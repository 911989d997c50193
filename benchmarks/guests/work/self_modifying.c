// Code that changes an immediate of itself each time before it runs.
#include "../guest.h"
u64 work(u64 n) {
    u8 *code = HEAP;
    code[0] = 0x8d; code[1] = 0x87; code[2] = code[3] = code[4] = code[5] = 0;  // lea eax, [rdi + imm32]
    code[6] = 0xc3;
    u64 s = 0;
    for (u64 i = 0; i < n; i++) {
        *(volatile u32 *)(code + 2) = (u32)i;
        s += ((u32(*)(u32))code)((u32)s);
    }
    return s;
}
