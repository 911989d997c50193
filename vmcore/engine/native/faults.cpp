// How slow code reports an architectural exception: by a C++ exception that the outer loop turns into its delivery.
#include "cpu.h"

void raise_fault(Cpu &cpu, u8 vector) { throw GuestFault{vector, false, 0, 0}; }
void raise_fault(Cpu &cpu, u8 vector, u32 error) { throw GuestFault{vector, true, error, 0}; }
void raise_page_fault(Cpu &cpu, u64 lin, u32 error) { throw GuestFault{EXC_PF, true, error, lin}; }
