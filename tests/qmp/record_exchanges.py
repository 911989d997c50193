"""Records what QEMU replies in the exchanges: `python tests/qmp/record_exchanges.py [NAME ...]` (of data files).

Sends and differences in the data files stay; replies are made anew.  A step is over when nothing came for a while.
In options DIRECTORY is one that is made for the exchange, with the images `DIRECTORY/*.qcow2` that they name in it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exchange_kit import DIRECTORY, Exchange, Player, firmware, load

QUIET = 0.12
QUIET_LIVE = 0.35
NEEDS_NEW_QEMU = (
    *("devices", "hotplug", "jobs", "lifecycle", "migration"),
    *("numa", "objects", "preconfig", "sleep", "trouble"),
)
"""Data files whose exchanges change more than their connection: each gets a machine of its own."""


@contextmanager
def running_qemu(exchange: Exchange) -> Iterator[str]:
    """A stopped QEMU with the guest of an exchange; the path of its monitor."""
    program = shutil.which("qemu-system-x86_64")
    assert program is not None
    with tempfile.TemporaryDirectory() as name:
        rom, path = Path(name) / "rom", Path(name) / "qmp"
        rom.write_bytes(firmware(exchange.guest))
        command = [program, "-display", "none", "-nodefaults", "-S", "-m", "32", "-bios", str(rom)]
        options = [option.replace("DIRECTORY", name) for option in exchange.options]
        for image in re.findall(r"DIRECTORY/(\w+\.qcow2)", " ".join(exchange.options)):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(Path(name) / image), "1M"], check=True)
        command += ["-qmp", f"unix:{path},server=on,wait=off", *options]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield str(path)
            finally:
                process.kill()


def record(path: str, exchange: Exchange, quiet: float) -> None:
    player = Player(path)
    player.read_count(1)
    if exchange.negotiated:
        player.send(b'{"execute": "qmp_capabilities"}')
        player.read_count(1)
    for step in exchange.steps:
        player.send(step.send)
        step.replies = player.read_until_quiet(quiet)
    player.close()


def main() -> None:
    for path in sorted(DIRECTORY.glob("*.json")):
        if len(sys.argv) > 1 and path.stem not in sys.argv[1:]:
            continue
        exchanges = load(path)
        if path.stem in NEEDS_NEW_QEMU:
            for exchange in exchanges:
                with running_qemu(exchange) as monitor:
                    record(monitor, exchange, QUIET_LIVE)
        else:
            with running_qemu(exchanges[0]) as monitor:
                for exchange in exchanges:
                    record(monitor, exchange, QUIET)
        path.write_text(json.dumps([e.to_json() for e in exchanges], indent=1) + "\n")
        print(path.name, len(exchanges))


if __name__ == "__main__":
    main()
