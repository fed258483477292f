"""Where one process of a run fails, the others end too, and say which one it was and why."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from typing import Any

import lightning as L
import torch.distributed as dist
from lightning.pytorch.trainer.states import TrainerStatus

from swirl_lightning.callbacks.checkpoint import PhaseCheckpoint
from swirl_lightning.ending import FAILED, ending_of
from swirl_lightning.types import say

POLL = 0.5
"""Seconds between two looks at whether another process has failed."""
GRACE = 2.0
"""Seconds for this process to fail of itself: as a rule all of them find the same fault."""
LINGER = 10.0
"""Seconds that one that failed waits for the others to hear of it."""
LAST = 1.0
"""Seconds that the first process, which as a rule keeps the store, ends after the others."""
SILENCE = 30.0
"""Seconds after which a run ends whose meeting place has gone."""


class EndTogether(L.Callback):
    """Ends a run in all processes when one of them fails.

    An exception leaves the others waiting in an exchange, on GPUs for minutes: nothing tells them. So the one that
    fails leaves a note in the store that the processes found each other by, and a thread of each of the others looks
    there. It ends its process with the exit code of the one that failed, from wherever that waits; checkpoints are
    whole at any moment.
    """

    _runs = count()

    def __init__(self) -> None:
        self._failing = threading.Event()  # this process
        self._told = threading.Event()  # that another one fails
        self._run = 0
        self._store: Any = None

    def watch(self, trainer: L.Trainer) -> None:
        """Begin to look, once the processes of a trainer that has several have found each other."""
        if trainer.world_size > 1:
            self._run = next(self._runs)  # the same in all processes, which make the same trainers
            threading.Thread(target=self._watch, args=(trainer,), daemon=True, name="EndTogether").start()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Tell the others, and wait until they have heard of it."""
        ending = ending_of(exception)
        if ending.lost and self._told.wait(2 * POLL):
            time.sleep(LINGER)  # no fault of its own: the thread is about to end this process
        self._failing.set()
        if trainer.world_size == 1 or not dist.is_initialized():
            return
        note = {"process": trainer.global_rank, "code": ending.code, "line": ending.line.removeprefix("error: ")}
        with suppress(RuntimeError):  # whoever keeps the store has gone
            store = self._store or _default_store()
            store.compare_set(self._key("note"), "", json.dumps(note))
            heard = store.add(self._key("heard"), 1)
            end = time.monotonic() + LINGER
            while heard < trainer.world_size - ending.lost and time.monotonic() < end:
                time.sleep(POLL / 5)
                heard = store.add(self._key("heard"), 0)

    def _key(self, what: str) -> str:
        return f"swirl/{self._run}/{what}"

    def _watch(self, trainer: L.Trainer) -> None:
        while not dist.is_initialized():
            time.sleep(POLL)
        try:
            # connections of their own: what waits in another one holds nothing up; and made while they can be
            self._store, own = _default_store().clone(), _default_store().clone()
            note = self._wait_for_note(trainer, own)
            self._told.set()
            if not self._goes_on(trainer, GRACE):
                return
            own.add(self._key("heard"), 1)
        except RuntimeError as error:  # whoever keeps the store has gone
            note = {"process": 0, "code": FAILED, "line": f"no connection to it ({str(error)[:100]})"}
            if not self._goes_on(trainer, SILENCE):
                return
        path = PhaseCheckpoint.path(trainer)
        cure = f"; {path} is whole, and --ckpt_path=last goes on from it" if path.exists() else ""
        say(
            f"process {trainer.global_rank} ends because process {note['process']} of {trainer.world_size} failed: "
            f"{note['line']}{cure}",
            file=sys.stderr,
        )  # fmt: skip
        if trainer.global_rank == 0:
            time.sleep(LAST)
        os._exit(note["code"])  # the main thread may wait where no exception reaches it

    def _wait_for_note(self, trainer: L.Trainer, store: Any) -> dict[str, Any]:
        while trainer.state.status != TrainerStatus.RUNNING or not store.check([self._key("note")]):
            time.sleep(POLL)
        note: dict[str, Any] = json.loads(store.get(self._key("note")))
        return note

    def _goes_on(self, trainer: L.Trainer, seconds: float) -> bool:
        """Whether this process neither fails of itself nor is done, so many seconds later."""
        return not self._failing.wait(seconds) and trainer.state.status == TrainerStatus.RUNNING


def _default_store() -> Any:
    return dist.distributed_c10d._get_default_store()
