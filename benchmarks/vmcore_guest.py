"""Runs a benchmark guest in vmcore, with port E9h to standard output."""

from __future__ import annotations

import os
import sys

from vmcore import Machine, MachineConfig


def main() -> None:
    config = MachineConfig(
        kernel=sys.argv[1], memory="128M", devices=["isa-debugcon", "isa-debug-exit,iobase=0xf4,iosize=4"]
    )
    with Machine(config) as machine:
        machine.on_debugcon = lambda data: void(os.write(1, data))
        machine.run()


def void(_result: object) -> None:
    """For calls whose result does not matter."""


main()
