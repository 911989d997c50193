// The x87 kernels that this host uses.
#pragma once
#include "fpu.h"
#if HOST_SSE2
#include "fpu_host.h"
#else
#include "fpu_soft.h"
#endif
