// Table-driven CRC-32 over 64 KiB.
#include "../guest.h"
static u32 table[256];
void setup(void) {
    for (u32 i = 0; i < 256; i++) { u32 c = i; for (int k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >> 1) : c >> 1; table[i] = c; }
    for (u32 i = 0; i < 65536; i++) HEAP[i] = (u8)(i * 7 + (i >> 5));
}
u64 work(u64 n) {
    u32 c = ~0u;
    for (u64 r = 0; r < n; r++)
        for (u32 i = 0; i < 65536; i++) c = table[(c ^ HEAP[i]) & 255] ^ (c >> 8);
    return c;
}
