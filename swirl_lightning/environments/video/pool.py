"""Videos read side by side, by processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from swirl_lightning.environments.video.clip import Facts, Job, given_up, read_clip
from swirl_lightning.types import InputError


def read_clips(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Facts]]:
    """What is read of each video, as they are done, in any order.

    A video whose decoder ends its process (which a hostile file may bring about) is read again by itself, and given up
    where that ends its process too; no other video is lost with it.

    Raises:
        OSError: something could not be written.
    """
    left = {job.name: job for job in jobs}
    for job in jobs:
        job.begun.unlink(missing_ok=True)  # of a run that was killed
    while left:
        for job, facts in _read_together(list(left.values()), processes):
            del left[job.name]
            yield job, facts
        suspects = [job for job in left.values() if job.begun.exists()]
        if left and not suspects:
            raise InputError(
                "swirl collect video: the processes that read videos end before they begin; expected room for "
                f"{processes} of them; try --processes 1"
            )
        for job in suspects:  # one of them has ended its process
            found = [facts for _, facts in _read_together([job], 1)]
            del left[job.name]
            yield job, found[0] if found else given_up(job, "the decoder crashed on it")
            job.begun.unlink(missing_ok=True)


def _read_together(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Facts]]:
    """What is read of each video until all are done or a process ends."""
    spawn = multiprocessing.get_context("spawn")
    watched, held = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(min(processes, len(jobs)), spawn, initializer=_end_with, initargs=(watched,))
    try:
        reading = {pool.submit(read_clip, job): job for job in jobs}
        for done in as_completed(reading):
            yield reading[done], done.result()
        pool.shutdown()
    except BrokenProcessPool:
        pass
    finally:
        held.close()  # a process that still reads ends
        pool.shutdown(cancel_futures=True)
        watched.close()


def _end_with(watched: Connection) -> None:
    """Let this process end when the one that started it lets go of the other end, or dies; Ctrl-C is for that one."""

    def wait() -> None:
        try:
            watched.recv()
        except EOFError:
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()
