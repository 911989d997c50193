// Fixed-width names, hints and bit helpers that every source of the engine uses.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;
#if defined(__SIZEOF_INT128__)
__extension__ using u128 = unsigned __int128;
__extension__ using i128 = __int128;
#endif

#if defined(__GNUC__)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define COLD __attribute__((cold, noinline))
#else
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#define NOINLINE
#define ALWAYS_INLINE inline
#define COLD
#endif

template <class T> constexpr unsigned kBits = sizeof(T) * 8;

template <class T> ALWAYS_INLINE T load_host(const void *p) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T> ALWAYS_INLINE void store_host(void *p, T v) { std::memcpy(p, &v, sizeof v); }

// Signed counterpart and double-width counterpart of an operand type.
template <class T> struct Wider;
template <> struct Wider<u8> { using U = u16; using S = i16; };
template <> struct Wider<u16> { using U = u32; using S = i32; };
template <> struct Wider<u32> { using U = u64; using S = i64; };
#if defined(__SIZEOF_INT128__)
template <> struct Wider<u64> { using U = u128; using S = i128; };
#endif
template <class T> struct SignedOf;
template <> struct SignedOf<u8> { using S = i8; };
template <> struct SignedOf<u16> { using S = i16; };
template <> struct SignedOf<u32> { using S = i32; };
template <> struct SignedOf<u64> { using S = i64; };
