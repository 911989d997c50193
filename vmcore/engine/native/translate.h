// Translation of decoded instructions into the ops of a block: choice of handlers, fusion, dead flags.
#pragma once
#include "handlers.h"

// The handler that runs the slow function of the op's row.
Handler slow_handler(const Op &op);
bool is_conditional_jump(const Op &op);

// The arithmetic flags inside a block: which are wanted after each op (bit 0 CF, bit 1 the others), and cc_op before it where the
// block shows it (else CC_UNKNOWN).  `first` is the handler of ops[0].
void flags_in_block(const Op *ops, unsigned n, Handler first, u8 *wanted, u32 *known);
