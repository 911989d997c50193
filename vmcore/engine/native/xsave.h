// Extended state (SDM Vol. 1 chapter 13).
#pragma once
#include "cpu.h"

enum : u64 { XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };
u64 xinuse(const Cpu &cpu);  // components that are not in their initial state: XGETBV with ECX = 1 is this & XCR0
