"""Real runs of two processes on a CPU: their numbers, resuming, evaluation, and an end where one of them fails."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from swirl_lightning.callbacks import BestOfN, PhaseCheckpoint, PhaseMonitor
from swirl_lightning.ending import ending_of
from swirl_lightning.modules.schedule import Stage
from swirl_lightning.rewards import LikelihoodReward, Rewards
from swirl_lightning.types import InputError, Stopped

ROOT = Path(__file__).parents[1]
LIMIT = 120  # seconds that two processes may take
STAGES = (Stage("pretrain", updates=2), Stage("sft", updates=3), Stage("vim", updates=3), Stage("elbo", updates=3))
TIMES = ("tokens_per_second", "share_generation", "share_scoring", "share_update", "seconds")
NO_SHARE = "ignore:The ``compute`` method of metric"  # a process without a share of a split


class Likelihood:
    """The scorer's log-prob of any completion, and noise of a stream that each process has of its own."""

    def __init__(self, noise=0.0, spoil=None):
        self.noise, self.spoil, self.calls = noise, spoil, 0

    def __call__(self, rollouts, task, scorer):
        logp = LikelihoodReward()(rollouts, task, scorer).parts["sequence_logp"]
        self.calls += 1
        if self.spoil == (rank_zero_only.rank, self.calls):
            logp = logp * float("nan")
        return Rewards(logp + self.noise * torch.rand(len(logp) + 3 * rank_zero_only.rank)[: len(logp)])


class Fails(Likelihood):
    """A reward of a user's own with a fault that one of the two processes meets, until it is mended."""

    mended = False

    def __init__(self, rank):
        super().__init__()
        self.rank = rank

    def __call__(self, rollouts, task, scorer):
        rewards = super().__call__(rollouts, task, scorer)
        fails = (rank_zero_only.rank, self.calls) == (self.rank, 2) and not Fails.mended
        return {}["no such fact"] if fails else rewards


class Die(L.Callback):
    """A process ends by SIGKILL, when the other is on its way to the next exchange."""

    def __init__(self, rank=1):
        self.rank = rank

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (trainer.global_rank, trainer.fit_loop.current.name, batch_idx) == (self.rank, "vim", 1):
            os.kill(os.getpid(), signal.SIGKILL)


def together(work, tmp_path, limit=LIMIT):
    """Do the work in two processes, started as torchrun starts them. Returns their exit codes and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = [tmp_path / f"said-{rank}" for rank in range(2)]

    def begin(rank):
        torch.set_num_threads(1)
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", GROUP_RANK="0",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test", GLOO_SOCKET_IFNAME="lo",
        )  # fmt: skip
        os.environ.pop("PL_GLOBAL_SEED", None)  # another test's, which DDP would seed anew with
        rank_zero_only.rank = rank
        os.dup2(os.open(tmp_path / f"stderr-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        try:
            work()
        except BaseException as error:
            said[rank].write_text(f"{type(error).__name__}: {error}")
            raise

    processes = [multiprocessing.get_context("fork").Process(target=begin, args=(rank,)) for rank in range(2)]
    for process in processes:
        process.start()
    end = time.monotonic() + limit
    for process in processes:
        process.join(max(0, end - time.monotonic()))
    hanging = [process for process in processes if process.is_alive()]
    for process in hanging:
        process.kill()
        process.join()
    words = [path.read_text() if path.exists() else "" for path in said]
    assert not hanging, f"no end after {limit} s: {words}"
    return [process.exitcode for process in processes], words


@pytest.fixture
def fit(toy_trainer, toy_swirl, toy_data):
    """Fits in this process, or as one of two."""

    def run(folder, *callbacks, devices=1, batch_size=4, ckpt_path=None, reward=None, **options):
        two = {"devices": devices, "strategy": "ddp"} if devices > 1 else {}
        callbacks = [*callbacks, PhaseCheckpoint(every_n_updates=1)]
        trainer = toy_trainer(*STAGES, folder=folder, limit_val_batches=1.0, callbacks=callbacks, **two, **options)
        model = toy_swirl(
            reward=reward or Likelihood(), fwm={"anchor": 0.5}, bootstrap=0.3, idm={"beta": 0.2, "learning_rate": 1e-3}
        )
        trainer.fit(model, datamodule=toy_data(batch_size=batch_size), ckpt_path=ckpt_path, weights_only=True)
        return trainer

    return run


def outcome(folder):
    """What a run has left: history, samples, stages, weights."""
    files = [[json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
             for name in ("history", "samples")]  # fmt: skip
    files.append(json.loads((folder / "results.json").read_text())["stages"])
    rows = [[{k: v for k, v in row.items() if k not in TIMES} for row in file] for file in files]
    return *rows, torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_two_processes_have_the_numbers_of_one(fit, tmp_path):
    """The same batch in two shares: samples, figures, metrics, and what is shown of the test split."""
    whole = outcome(fit("one").run_dir)
    codes, words = together(lambda: fit("two", devices=2, batch_size=2), tmp_path)
    assert codes == [0, 0], words
    assert [path.name for path in (tmp_path / "two").iterdir()] == ["version_0"]
    history, samples, stages, weights = outcome(tmp_path / "two/version_0")
    assert [(row["stage"], row["update"]) for row in history] == [(r["stage"], r["update"]) for r in whole[0]]
    for row, expected in zip(history, whole[0], strict=True):
        assert row.keys() == expected.keys()
        assert {k: v for k, v in row.items() if k not in ("stage", "tokens", "gradient_tokens")} == pytest.approx(
            {k: v for k, v in expected.items() if k not in ("stage", "tokens", "gradient_tokens")}, rel=2e-3, abs=5e-4
        )
        # a prompt that both processes have passes twice
        assert expected["tokens"] <= row["tokens"] < 2 * expected["tokens"]
    assert any(row.get("reward_std", 0) > 0 for row in history)
    assert samples == whole[1]
    for stage, expected in zip(stages, whole[2], strict=True):
        assert stage["metrics"] == pytest.approx(expected["metrics"], rel=1e-3, abs=1e-4)
        assert stage["validation"] == pytest.approx(expected["validation"], rel=1e-3, abs=1e-4)
    for key, value in weights.items():
        assert (value - whole[3][key]).norm() < 2e-3 * whole[3][key].norm()


@pytest.fixture
def killed(fit, tmp_path):
    """The folder of an undisturbed run and of one whose second process was killed; both with noise in the reward."""

    def run(folder, *callbacks, **options):
        return together(
            lambda: fit(folder, *callbacks, devices=2, batch_size=2, reward=Likelihood(noise=1.0), **options), tmp_path
        )

    assert run("undisturbed")[0] == [0, 0]
    started = time.monotonic()
    codes, words = run("killed", Die())
    assert codes[1] == -signal.SIGKILL
    assert codes[0] == 1
    assert words[0]
    assert time.monotonic() - started < 60
    return run, tmp_path / "undisturbed/version_0", tmp_path / "killed/version_0"


def test_one_is_killed_and_both_go_on(killed):
    """The other one ends with an error at once; together they then come to the bits of an undisturbed run."""
    run, undisturbed, folder = killed
    codes, words = run("killed", ckpt_path=folder / "checkpoints/last.ckpt", run_version=0)
    assert codes == [0, 0], words
    ours, theirs = outcome(folder), outcome(undisturbed)
    assert ours[:3] == theirs[:3]
    assert all(torch.equal(value, theirs[3][key]) for key, value in ours[3].items())


def test_another_number_of_processes_is_refused(fit, tmp_path):
    path = PhaseCheckpoint.path(fit("one"))
    codes, words = together(lambda: fit("one", devices=2, batch_size=2, ckpt_path=path), tmp_path)
    assert codes == [1, 1]
    for word in words:
        assert word.startswith("InputError")
        assert "data.batch_size (4 there, 2 here), number of processes (1 there, 2 here)" in word


def test_a_reward_that_is_not_finite_stops_both(fit, tmp_path):
    """Only the second one has it; the first would wait for it for ever."""
    codes, words = together(
        lambda: fit("two", devices=2, batch_size=2, reward=Likelihood(spoil=(1, 2))), tmp_path, limit=60
    )
    assert codes == [1, 1]
    assert all(word.startswith("FloatingPointError: vim update 1: a reward is not finite") for word in words), words


class OneFails(L.Callback):
    """An error in one of the two, while the other goes on to the next exchange, where it would wait for ever."""

    def __init__(self, rank, error, evaluation):
        self.rank, self.error, self.evaluation = rank, error, evaluation

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if not self.evaluation and batch_idx == 1:
            self.fail(trainer, "vim")

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.fail(trainer, "sft")

    def fail(self, trainer, stage):
        if (trainer.global_rank, trainer.fit_loop.stage.phase) == (self.rank, stage):
            raise self.error


@pytest.mark.parametrize(
    ("rank", "error", "evaluation", "code", "line"),
    [
        (1, KeyError("no such fact"), False, 1, f"code of your own failed: {Fails.__module__}.Fails ("),
        (0, torch.OutOfMemoryError("CUDA out of memory"), False, 2, "out of memory (CUDA out of memory); let fewer"),
        (1, InputError("reward.table: found no fact, expected one"), True, 2, "reward.table: found no fact, exp"),
        (0, Stopped(signal.SIGTERM, "before the start"), True, 143, "stopped by SIGTERM before the start"),
    ],
)
def test_an_error_in_one_process_ends_both(rank, error, evaluation, code, line, fit, tmp_path):
    """The other one names it, with its exit code, whatever it was waiting in; the run then goes on from before."""
    what = OneFails(rank, error, evaluation)
    fails = ((), Fails(rank)) if isinstance(error, KeyError) else ((what,), None)

    def work():
        try:
            fit("two", *fails[0], devices=2, batch_size=2, reward=fails[1])
        except BaseException as caught:
            raise SystemExit(ending_of(caught).code) from caught

    started = time.monotonic()
    codes, _ = together(work, tmp_path)
    assert time.monotonic() - started < 60
    assert codes == [code, code]
    said = (tmp_path / f"stderr-{1 - rank}").read_text()
    assert f"process {1 - rank} ends because process {rank} of 2 failed: {line}" in said
    path = tmp_path / "two/version_0/checkpoints/last.ckpt"
    assert f"{Path('two/version_0/checkpoints/last.ckpt')} is whole" in said

    def go_on():
        Fails.mended = True
        fit("two", devices=2, batch_size=2, ckpt_path=path, run_version=0, reward=fails[1])

    codes, words = together(go_on, tmp_path)
    assert codes == [0, 0], words
    assert [row["stage"] for row in outcome(path.parents[1])[2]] == ["pretrain", "warmup", "vim", "elbo"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_gone_is_told(rank, fit, tmp_path):
    """SIGKILL leaves no note, and that of the first process no store, either; the other one ends and says so.

    The connection that breaks is not taken for an error of this package.
    """

    def work():
        try:
            fit("two", Die(rank), devices=2, batch_size=2)
        except RuntimeError as error:
            raise SystemExit(ending_of(error).line) from error

    codes, words = together(work, tmp_path, limit=60)
    assert codes == ([-signal.SIGKILL, 1] if rank == 0 else [1, -signal.SIGKILL])
    assert words[1 - rank].startswith(
        "SystemExit: training stopped: another process of this run has gone without a word"
    )


def test_warnings_are_of_all_processes(fit, tmp_path):
    """The first process has groups that differ, the second has none: half of them, which is no collapse."""

    class Flat(Likelihood):
        def __call__(self, rollouts, task, scorer):
            rewards = super().__call__(rollouts, task, scorer)
            return Rewards(rewards.total * 0 if rank_zero_only.rank else torch.arange(len(rewards.total)).float())

    class Look(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            monitor = next(c for c in trainer.callbacks if isinstance(c, PhaseMonitor))
            shares = [row.get("zero_variance_groups") for row in monitor.state_dict()["recent"]]
            if trainer.fit_loop.finished.name == "elbo":
                (tmp_path / f"shares-{trainer.global_rank}").write_text(json.dumps(shares))

    codes, words = together(lambda: fit("two", Look(), devices=2, batch_size=2, reward=Flat()), tmp_path)
    assert codes == [0, 0], words
    first, second = (json.loads((tmp_path / f"shares-{rank}").read_text()) for rank in range(2))
    assert first == second
    assert all(share >= 0.5 for share in first)
    rows = outcome(tmp_path / "two/version_0")[0]
    assert [row["zero_variance_groups"] for row in rows if row["stage"] == "elbo"] == first


@pytest.mark.filterwarnings(NO_SHARE)
@pytest.mark.parametrize("limit", [1, 3])
def test_evaluation_of_fewer_transitions_than_processes(limit, fit, toy_trainer, toy_swirl, toy_data, tmp_path):
    path = PhaseCheckpoint.path(fit("one"))
    model = {"reward": Likelihood(), "fwm": {"anchor": 0.5}, "bootstrap": 0.3, "idm": {"beta": 0.2}}

    def measure(folder, **options):
        data = toy_data(eval_limit=limit, batch_size=2, eval_batch_size=2)
        options |= {"folder": folder, "limit_val_batches": 1.0, "callbacks": [BestOfN(2)]}
        trainer, found = toy_trainer(*STAGES, **options), {}
        for task in (trainer.test, trainer.validate):
            found |= task(toy_swirl(**model), datamodule=data, ckpt_path=path, weights_only=True, verbose=False)[0]
        rows = trainer.predict(toy_swirl(**model), datamodule=data, ckpt_path=path, weights_only=True)
        if trainer.is_global_zero:
            file = "predictions.jsonl"
            (tmp_path / f"{folder}-{file}").write_bytes((trainer.run_dir / file).read_bytes())
        toy_trainer(*STAGES, **options).fit(toy_swirl(**model), datamodule=data)
        (tmp_path / f"{folder}-{trainer.global_rank}").write_text(json.dumps([found, sum(map(len, rows))]))

    measure("alone")
    codes, words = together(lambda: measure("both", devices=2, strategy="ddp"), tmp_path)
    assert codes == [0, 0], words
    (alone, number), *both = (json.loads((tmp_path / name).read_text()) for name in ("alone-0", "both-0", "both-1"))
    assert number == limit == both[0][1] + both[1][1]
    written = [(tmp_path / f"{folder}-predictions.jsonl").read_text() for folder in ("alone", "both")]
    assert written[0] == written[1]
    assert len(written[0].splitlines()) == limit
    assert not list(tmp_path.glob("both/*/predictions-*"))
    for found, _ in both:
        assert found == pytest.approx(alone, abs=1e-5)
    assert {"test/fwm/logp", "validation/idm/unique", "fwm/best_of_n/exact_match"} <= alone.keys()
    samples = outcome(tmp_path / "both/version_1")[1]
    assert [row["stage"] for row in samples] == [name for name in ("warmup", "vim", "elbo") for _ in range(limit)]


@pytest.mark.parametrize("launcher", [[], ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]])
def test_from_the_command_line(launcher, tmp_path):
    """``swirl fit`` starts the other process, or torchrun starts both."""
    command = [sys.executable, "-m", *launcher, "swirl_lightning", "fit", f"--config={ROOT / 'configs/debug.yaml'}"]
    command += [f"--trainer.default_root_dir={tmp_path}", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = subprocess.run(
        [*command, "--data.eval_limit=1"], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]
    history, samples, stages, _ = outcome(tmp_path / "version_0")
    assert len(history) == 32
    assert [stage["stage"] for stage in stages] == ["pretrain", "warmup", "vim-1", "elbo-1"]
    assert [row["stage"] for row in samples] == ["warmup", "vim-1", "elbo-1"]
