// Translation of decoded instructions into the ops of a block: choice of handlers, fusion, dead flags.
#pragma once
#include "handlers.h"

// The handler that runs the slow function of the op's row.
Handler slow_handler(const Op &op);
bool is_conditional_jump(const Op &op);
