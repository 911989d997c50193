"""The command line: `python -m vmcore` shows the demonstration guest, `python -m vmcore run` runs yours.

Exit statuses: those of the guest are 0 (it switched itself off) and the odd ones ((value << 1) | 1 of
isa-debug-exit); ours are even.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio

from vmcore.cli.options import RunOptions, parse
from vmcore.cli.status import ExitStatus, describe
from vmcore.engine.cpu_options import choose_cpu
from vmcore.model.errors import ConfigError, DeviceModelError, ImageError, MigrationError, UsageError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the process's exit status."""
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(options, RunOptions):
            from vmcore.cli.run import run

            for warning in choose_cpu(options.config.cpu).warnings:
                print(f"vmcore: warning: {warning}", file=sys.stderr)
            return trio.run(run, options)
        from vmcore.cli.demo import demo

        return trio.run(demo)
    except (ConfigError, ImageError, MigrationError, UsageError, OSError) as error:
        print(f"vmcore: {error}", file=sys.stderr)
        return ExitStatus.USAGE
    except DeviceModelError as error:
        print(*describe(error), sep="\n", file=sys.stderr)
        return ExitStatus.INTERNAL
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
