"""`python -m vmcore`: the demonstration guest, shown live, and what became of it."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

import trio

from vmcore.demo import KEY_PROMPT, disk
from vmcore.model.events import Event
from vmcore.model.exits import ShutdownRequested, StopRequested
from vmcore.vm import VirtualMachine

__all__ = ["demo"]


async def demo() -> int:
    """Run the demonstration guest to its end; 0 if it switched itself off."""
    sys.stdout.flush()
    begin, cpu_begin = time.monotonic(), time.process_time()
    async with VirtualMachine(bootsector=disk(), memory="16M") as vm:
        shown = bytearray()
        async with vm.parked() as machine:

            def show(data: bytes) -> None:
                """Show what the guest writes, and stop it where it waits for a key."""
                os.write(1, data)
                shown.extend(data)
                if shown.endswith(KEY_PROMPT):
                    machine.stop(KEY_PROMPT)

            vm.serial[0].on_output = show
        with vm.events.subscribe(Event) as events:
            while (exit := await vm.run()) == StopRequested(KEY_PROMPT):
                vm.keyboard.press("v")
            seen: Counter[str] = Counter()
            while True:
                try:
                    seen[type(events.receive_nowait()).__name__] += 1
                except trio.WouldBlock:
                    break
        counts = vm.statistics()
        seconds, cpu = time.monotonic() - begin, time.process_time() - cpu_begin
        print("-" * 40)
        print(f"ended by      {exit}")
        print(f"events        {', '.join(f'{name} x{n}' if n > 1 else name for name, n in seen.items()) or 'none'}")
        print(f"instructions  {counts.instructions:,}")
        print(f"guest time    {counts.guest_ns / 1e9:.6f} s")
        print(f"host time     {seconds:.3f} s, {cpu:.3f} s of CPU")
        print(f"speed         {counts.instructions / cpu / 1e6:.1f} MIPS")
        return 0 if isinstance(exit, ShutdownRequested) and exit.guest else 1
