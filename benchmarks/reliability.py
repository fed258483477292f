"""What happens when something goes wrong? Cases of several kinds, each of which must end, and not silently.

    python benchmarks/reliability.py
    python benchmarks/reliability.py --quick --out /tmp/reliability.json
    python benchmarks/reliability.py --kinds kills signals --seed 1

A case is one or two commands on a tiny run, each in a process of its own with a limit of 60 s. What holds is said in
docs/reliability.md. The whole takes about 40 minutes on one core, ``--quick`` less than one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: a process that is forked has one thread

import results_file
from reliability_ends import kills, signals, starts
from reliability_files import files
from reliability_options import options
from reliability_places import places
from reliability_runs import Bench
from reliability_users import users

KINDS = {
    "kills": kills,
    "signals": signals,
    "starts at once": starts,
    "full disk, unwritable place": places,
    "hostile files": files,
    "code of the user": users,
    "malformed configurations": options,
}
OUT = Path(__file__).parent / "results" / "reliability.json"


def tried(bench: Bench, kind: str) -> dict[str, Any]:
    """All cases of a kind: how many, how many held, and what was wrong with the others."""
    begun, number, faults = time.monotonic(), 0, []
    for case in KINDS[kind](bench):
        number += 1
        if fault := case.fault():
            faults.append({"case": case.name, "fault": fault.replace(str(bench.folder), "FOLDER")})
            print(f"{kind}: {case.name}: {fault}", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - begun)
    print(f"{kind}: {number - len(faults)} of {number} held, {seconds} s", flush=True)
    return {"kind": kind, "tried": number, "held": number - len(faults), "seconds": seconds, "faults": faults}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try, write the file, and return 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fraction of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0, help="of all that is random")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(arguments)
    folder = tempfile.mkdtemp()  # a TemporaryDirectory would go when the first forked process ends
    try:
        bench = Bench(Path(folder) / "bench", args.seed, args.quick)
        kinds = []
        for kind in args.kinds:
            kinds.append(tried(bench, kind))
            results_file.write(args.out, {"seed": args.seed, "quick": args.quick, "kinds": kinds}, depth=4)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return int(any(kind["faults"] for kind in kinds))


if __name__ == "__main__":
    sys.exit(main())
