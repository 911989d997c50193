"""Compares vmcore with QEMU TCG, Bochs and Unicorn on freestanding guests: `python benchmarks [--json FILE] [NAME
...]`.

Runs are interleaved and the best of several is taken, so that a noisy machine hits all alike.  A ratio is the other's
seconds divided by vmcore's: above 1 vmcore is faster.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from emulators import EMULATORS, Result, RunFailed
from workloads import WORKLOADS, build


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="workloads (all of them if none is named)")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the rounds")
    parser.add_argument("--only", action="append", help="emulators to run")
    arguments = parser.parse_args()
    chosen = [w for w in WORKLOADS if not arguments.names or w.name in arguments.names]
    emulators = [e for e in EMULATORS if e.available() and (not arguments.only or e.name in arguments.only)]
    seconds: dict[str, dict[str, float]] = {}
    failures: list[str] = []
    print(
        f"{'workload':<20}"
        + "".join(f"{e.name + ' s':>12}" for e in emulators)
        + "".join(f"{'x ' + e.name:>10}" for e in emulators if e.name != "vmcore"),
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for workload in chosen:
            image = build(workload, directory, max(int(workload.rounds * arguments.scale), 1))
            results: dict[str, list[Result]] = {}
            for _ in range(arguments.repeat):
                for emulator in emulators:
                    if not emulator.can_run(workload):
                        continue
                    try:
                        results.setdefault(emulator.name, []).append(emulator.run(workload, image))
                    except RunFailed as error:
                        failures.append(f"{workload.name}: {error}")
            sums = {r.checksum for runs in results.values() for r in runs}
            if len(sums) > 1:
                failures.append(
                    f"{workload.name}: checksums differ: "
                    + ", ".join(f"{n}={runs[0].checksum}" for n, runs in results.items())
                )
            best = {n: min(r.seconds for r in runs) for n, runs in results.items() if runs}
            seconds[workload.name] = best
            print(
                f"{workload.name:<20}"
                + "".join(f"{best.get(e.name, math.nan):12.3f}" for e in emulators)
                + "".join(
                    f"{best.get(e.name, math.nan) / best.get('vmcore', math.nan):10.2f}"
                    for e in emulators
                    if e.name != "vmcore"
                ),
                flush=True,
            )
    summary = {}
    for group in dict.fromkeys(w.group for w in chosen):
        for emulator in emulators:
            ratios = [
                seconds[w.name][emulator.name] / seconds[w.name]["vmcore"]
                for w in chosen
                if w.group == group and {emulator.name, "vmcore"} <= seconds[w.name].keys()
            ]
            if emulator.name != "vmcore" and ratios:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                summary[f"{group} against {emulator.name}"] = mean
                print(f"geometric mean, {group}: {mean:.2f} of {emulator.name}'s speed (lowest {min(ratios):.2f})")
    for failure in failures:
        print("FAILED", failure, file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "ratios": summary, "failures": failures}, indent=2))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
