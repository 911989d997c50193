"""The native engine (module*.cpp).  Use it through vmcore.engine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

FEATURES: tuple[str, ...]

class _Read(Protocol):
    def __call__(self, offset: int, size: int, /) -> int: ...

class _Write(Protocol):
    def __call__(self, offset: int, value: int, size: int, /) -> object: ...

class _ReadBulk(Protocol):
    def __call__(self, offset: int, size: int, count: int, /) -> bytes | bytearray | memoryview: ...

class _WriteBulk(Protocol):
    def __call__(self, offset: int, size: int, data: bytes, /) -> object: ...

_Cells = tuple[bytearray, bytearray, bytearray, bytearray, bytearray]

class PhysicalMemory:
    """Guest-physical memory and I/O ports, shared by the vCPUs of one machine."""

    a20: bool
    def __new__(cls) -> Self: ...
    def map_ram(
        self,
        start: int,
        size: int,
        *,
        rom: bool = False,
        contents: bytes | bytearray | memoryview | None = None,
        buffer: bytearray | memoryview | None = None,
    ) -> None: ...
    def map_device(
        self,
        start: int,
        size: int,
        read: _Read | None,
        write: _Write | None,
        *,
        offset: int = 0,
        cells: _Cells | None = None,
        readers: Mapping[tuple[int, int], Callable[[], int]] | None = None,
        writers: Mapping[tuple[int, int], Callable[[int], object]] | None = None,
        counter: tuple[int, int, bytearray] | None = None,
    ) -> None: ...
    def map_alias(self, start: int, size: int, target: int, *, rom: bool = False) -> None: ...
    def map_planes(self, start: int, size: int, target: int, registers: bytearray, *, offset: int = 0) -> None: ...
    def unmap(self, start: int, size: int) -> None: ...
    def regions(self) -> list[tuple[int, int, str]]: ...
    def read(self, address: int, size: int, /) -> bytes: ...
    def write(self, address: int, data: bytes | bytearray | memoryview, /) -> None: ...
    def load(self, address: int, data: bytes | bytearray | memoryview, /) -> None: ...
    def dirty_pages(self, start: int = 0, size: int = ..., *, clear: bool = True, reader: int = 0) -> list[int]: ...
    def used_pages(self) -> list[int]: ...
    def digest(self) -> bytes: ...
    def set_port_handlers(
        self,
        read: _Read | None,
        write: _Write | None,
        read_bulk: _ReadBulk | None = None,
        write_bulk: _WriteBulk | None = None,
    ) -> None: ...
    def map_port(
        self,
        port: int,
        count: int,
        read: _Read | None,
        write: _Write | None,
        read_bulk: _ReadBulk | None = None,
        write_bulk: _WriteBulk | None = None,
        *,
        offset: int = 0,
        cells: _Cells | None = None,
        readers: Mapping[tuple[int, int], Callable[[], int]] | None = None,
        writers: Mapping[tuple[int, int], Callable[[int], object]] | None = None,
        counter: tuple[int, int, bytearray] | None = None,
        indexed: Sequence[tuple[int, bytearray, int, bytes, bytearray]] = (),
    ) -> None: ...
    def unmap_port(self, port: int, count: int) -> None: ...

class Cpu:
    """A vCPU.  vmcore.engine.Cpu is this with models, segments and the rest of the Python face."""

    acknowledge: Callable[[], int | None] | None
    on_cr8_write: Callable[[int], object] | None
    on_ferr: Callable[[bool], object] | None
    on_msr_read: Callable[[int], int | None] | None
    on_msr_write: Callable[[int, int], bool | None] | None
    rax: int
    eax: int
    ax: int
    al: int
    rcx: int
    ecx: int
    cx: int
    cl: int
    rdx: int
    edx: int
    dx: int
    dl: int
    rbx: int
    ebx: int
    bx: int
    bl: int
    rsp: int
    esp: int
    sp: int
    spl: int
    rbp: int
    ebp: int
    bp: int
    bpl: int
    rsi: int
    esi: int
    si: int
    sil: int
    rdi: int
    edi: int
    di: int
    dil: int
    r8: int
    r8d: int
    r8w: int
    r8b: int
    r9: int
    r9d: int
    r9w: int
    r9b: int
    r10: int
    r10d: int
    r10w: int
    r10b: int
    r11: int
    r11d: int
    r11w: int
    r11b: int
    r12: int
    r12d: int
    r12w: int
    r12b: int
    r13: int
    r13d: int
    r13w: int
    r13b: int
    r14: int
    r14d: int
    r14w: int
    r14b: int
    r15: int
    r15d: int
    r15w: int
    r15b: int
    ah: int
    ch: int
    dh: int
    bh: int
    xmm0: int
    xmm1: int
    xmm2: int
    xmm3: int
    xmm4: int
    xmm5: int
    xmm6: int
    xmm7: int
    xmm8: int
    xmm9: int
    xmm10: int
    xmm11: int
    xmm12: int
    xmm13: int
    xmm14: int
    xmm15: int
    mm0: int
    mm1: int
    mm2: int
    mm3: int
    mm4: int
    mm5: int
    mm6: int
    mm7: int
    st0: int
    st1: int
    st2: int
    st3: int
    st4: int
    st5: int
    st6: int
    st7: int
    rip: int
    rflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    xcr0: int
    dr0: int
    dr1: int
    dr2: int
    dr3: int
    dr6: int
    dr7: int
    cpl: int
    activity: int
    tsc: int
    mxcsr: int
    fcw: int
    fsw: int
    fop: int
    fip: int
    fdp: int
    fcs: int
    fds: int
    fpu_valid: int
    ferr: int
    ignne: int
    yields: int
    @property
    def memory(self) -> PhysicalMemory: ...
    @property
    def index(self) -> int: ...
    @property
    def instructions(self) -> int: ...
    @property
    def guest_ns(self) -> int: ...
    @property
    def mode_bits(self) -> int: ...
    @property
    def watch_hit(self) -> int: ...
    @property
    def pending(self) -> int: ...
    def __new__(
        cls,
        memory: PhysicalMemory,
        index: int = 0,
        *,
        features: Sequence[int] = ...,
        cpuid: Sequence[tuple[int, int | None, int, int, int, int]] = ...,
        phys_bits: int = 40,
        lin_bits: int = 48,
        seed: int = 0,
        tsc_hz: int = 1_000_000_000,
    ) -> Self: ...
    def run(self, instructions: int, /) -> int: ...
    def step(self, instructions: int = 1, /) -> int: ...
    def request_stop(self) -> None: ...
    def cancel_stop(self) -> None: ...
    def break_run(self) -> None: ...
    def set_interrupt(self, level: bool, /) -> None: ...
    def nmi(self) -> None: ...
    def init(self) -> None: ...
    def sipi(self, vector: int, /) -> None: ...
    def reset(self) -> None: ...
    def inject_machine_check(
        self, bank: int, status: int, address: int = 0, misc: int = 0, mcg_status: int = 0
    ) -> None: ...
    def set_time(
        self, base_ns: int, ns_mul: int = ..., ns_shift: int = ..., tsc_mul: int = ..., tsc_shift: int = ...
    ) -> None: ...
    def translate(self, address: int, /) -> int | None: ...
    def flush_tlb(self) -> None: ...
    def read_msr(self, index: int, /) -> int: ...
    def write_msr(self, index: int, value: int, /) -> None: ...
    def add_breakpoint(self, address: int, /) -> None: ...
    def remove_breakpoint(self, address: int, /) -> None: ...
    def add_watchpoint(self, address: int, size: int = 1, *, read: bool = False, write: bool = True) -> None: ...
    def remove_watchpoint(self, address: int, size: int = 1, *, read: bool = False, write: bool = True) -> None: ...
    def set_msr_hooks(
        self,
        msrs: Iterable[int],
        read: Callable[[int], int | None] | None,
        write: Callable[[int, int], bool | None] | None,
    ) -> None: ...
    def decode(self, data: bytes | bytearray | memoryview, bits: int, /) -> tuple[int, str | None] | None: ...
    def state(self) -> dict[str, Any]: ...
    def set_state(self, state: dict[str, Any], /) -> None: ...
    def segment(self, index: int, /) -> tuple[int, int, int, int]: ...
    def set_segment(self, index: int, selector: int, base: int, limit: int, attributes: int, /) -> None: ...
    def table_register(self, which: int, /) -> tuple[int, int]: ...
    def set_table_register(self, which: int, base: int, limit: int, /) -> None: ...
    def context(self) -> bytes: ...
    def set_context(self, context: bytes, /) -> None: ...
    def statistics(self) -> dict[str, int]: ...
