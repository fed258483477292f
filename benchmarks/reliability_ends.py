"""Runs that are killed or told to end at random moments, and runs that start at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from reliability_runs import Bench, Case, Outcome, Started, mark

PHASES = ("pretrain", "warmup", "vim-1", "elbo-1")
KILLS = ("anywhere", *(f"update of {phase}" for phase in PHASES), "evaluation", "checkpoint")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SLACK = 0.03
"""Seconds within which a signal follows a mark: about an update of these runs, and several checkpoints."""
TOGETHER = 8


def come_to(bench: Bench, started: Started, moment: str) -> None:
    """Wait for a random moment of a kind."""
    if moment == "start-up":
        started.wait(bench.rng.uniform(1, 4))
    elif moment == "anywhere":
        started.wait(bench.rng.uniform(0, bench.seconds))
    else:
        which = bench.rng.randint(1, 3)
        started.read(lambda: sum(m.startswith(moment) for m in started.marks) >= which)
        started.wait(bench.rng.uniform(0, SLACK))


def tell(started: Started, number: signal.Signals) -> None:
    """Send a signal, unless it has ended by itself."""
    try:
        os.kill(started.pid, number)
    except ProcessLookupError:  # pragma: no cover
        return


def continued(bench: Bench, root: Path) -> str | None:
    """Continue a run, to the numbers of the undisturbed one."""
    outcome = Started(bench.fit(root, "--ckpt_path=last")).end()
    if fault := outcome.fault():
        return f"when continued: {fault}"
    if outcome.code != 0:
        return f"when continued: exit code {outcome.code}: {outcome.last}"
    return bench.differs(root)


def kills(bench: Bench) -> Iterator[Case]:
    """SIGKILL, then a resume."""

    def killed(moment: str) -> str | None:
        root = bench.new()
        started = Started(bench.fit(root), mark)
        come_to(bench, started, moment)
        tell(started, signal.SIGKILL)
        outcome = started.end()
        if outcome.code not in (0, -signal.SIGKILL):
            return f"before the kill: {outcome.fault() or outcome.code}"
        return continued(bench, root)

    for _, moment in zip(bench.some(70, 4), cycle(KILLS), strict=False):
        yield Case(f"SIGKILL, {moment}", lambda moment=moment: killed(moment))


def signals(bench: Bench) -> Iterator[Case]:
    """SIGTERM, SIGINT, SIGHUP once and twice, then a resume."""

    def told(number: signal.Signals, times: int, moment: str) -> str | None:
        root = bench.new()
        started = Started(bench.fit(root), mark, fresh=moment == "start-up")
        come_to(bench, started, moment)
        for _ in range(times):
            tell(started, number)
            started.wait(0.01)
        return wrong_end(started.end(), number, times) or continued(bench, root)

    moments = ["update", "evaluation", "anywhere"] + ([] if bench.quick else ["update", "start-up"])
    for moment in moments:
        for number in SIGNALS:
            for times in (1,) if bench.quick else (1, 2):
                yield Case(
                    f"{number.name}, {times} times, {moment}",
                    lambda number=number, times=times, moment=moment: told(number, times, moment),
                )


def wrong_end(outcome: Outcome, number: signal.Signals, times: int) -> str | None:
    """What is wrong with the end of a run that was told to."""
    if outcome.code is None or "Traceback" in outcome.err:
        return outcome.fault()
    if outcome.code not in (0, 128 + number, *([-number] if times > 1 else [])):  # 0: it came after all was done
        return f"exit code {outcome.code}, expected {128 + number}: {outcome.last}"
    if outcome.code != 0 and number.name not in outcome.err:
        return f"no word of {number.name}: {outcome.last!r}"
    return None


def starts(bench: Bench) -> Iterator[Case]:
    """Runs that start at once under one folder: each has a folder of its own, and the same numbers."""

    def outcomes(root: Path) -> list[str | None]:
        together = [Started(bench.fit(root)) for _ in range(TOGETHER)]
        ends = [started.end() for started in together]
        runs = sorted(root.glob("version_*"))
        faults = []
        for index, end in enumerate(ends):
            run = root / f"version_{index}"
            alone = run.parent / "alone" / run.name / "version_0"
            alone.parent.mkdir(parents=True)
            if len(runs) != TOGETHER or not run.is_dir():
                faults.append(f"{len(runs)} run folders of {TOGETHER}")
                continue
            run.rename(alone)
            faults.append(end.fault() or (f"exit code {end.code}" if end.code else bench.differs(alone.parent)))
        return faults

    for _ in bench.some(4, 1):
        root, found = bench.new(), []

        def one(index: int, root: Path = root, found: list = found) -> str | None:
            if not found:
                found.extend(outcomes(root))
            return found[index]

        for index in range(TOGETHER):
            yield Case(f"start {index + 1} of {TOGETHER} at once", lambda index=index, one=one: one(index))
