"""What the gain benchmarks compare: SWIRL and its baselines, from one warm-up, for the same gradient tokens.

For every seed and number of labelled episodes, a column: the warm-up, and from its weights the arms of ``ARMS``. SWIRL
takes the updates of the environment's configuration, and the gradient tokens that it uses are every other arm's: the
numbers of their updates follow from the mean length of the texts. Evaluation is on a fixed slice of the test split.
One `swirl fit` is one process on one thread; every finished arm is written at once, and a benchmark that was cut off
goes on where it was when its command is given again.

- ``warm-up``: both roles, supervised on the labels. All other arms of the column begin with its weights.
- ``best-of-n``: the warm-up; of 4 next states that its FWM draws, its IDM chooses. Nothing is trained.
- ``sft-continue``: the warm-up continued on the labels.
- ``bootstrap-continue``: the FWM on state-only pairs with actions drawn from the warm-up's IDM, on from the warm-up.
- ``bootstrap-mixed``: the same, with as many labelled transitions in every update.
- ``bootstrap-merge``: labelled and pseudo-labelled transitions, half and half, from where the warm-up began: a new FWM
  adapter, which is also given the gradient tokens that the warm-up spent on its FWM; the IDM is the warm-up's.
- ``swirl``: the configuration's iterations, measured after each of them.
- ``swirl-bootstrap``: the same with the supervised loss on the IDM's labels beside GRPO in the VIM phase.
- ``swirl-shared``: one weight set for both roles, from a warm-up of its own (``warm-up-shared``) of half the updates:
  either role's batch is a step of that one set, so that every weight set takes as many steps.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Semaphore
from typing import Any

import torch
from gain_lengths import Lengths
from gain_runs import Ledger, Results, budget, checkpoint, fit, monitored, schedule
from gain_table import ARMS
from results_file import rounded

NEEDED = ("warm-up", "swirl")
OPTIONAL = ("bootstrap-mixed", "swirl-bootstrap")
DEFAULT_ARMS = tuple(arm for arm in ARMS if arm not in (*OPTIONAL, "warm-up-shared"))
BEST_OF_N = "--trainer.callbacks+=swirl_lightning.callbacks.best_of_n.BestOfN", "--trainer.callbacks.n=4"


@dataclass(frozen=True)
class Recipe:
    """How long and how fast an environment's arms train; --tune tries its grid.

    Args:
        config: the YAML file, whose iteration is SWIRL's.
        metric: the metric of the paper's table.
        published: what the paper reports for SWIRL over its warm-up, in words.
        rates: peak learning rates of the supervised arms, ``sft`` and ``bootstrap``.
        iterations: of SWIRL.
        bootstrap: weight of the supervised loss in ``swirl-bootstrap``.
        grid: learning rates that --tune tries, of ``sft``, ``bootstrap`` and ``swirl``.
    """

    config: Path
    metric: str
    published: str
    rates: dict[str, float]
    iterations: int = 2
    bootstrap: float = 1.0
    grid: dict[str, tuple[float, ...]] = field(
        default_factory=lambda: {
            "sft": (5e-5, 2e-4),
            "bootstrap": (1e-4, 4e-4),
            "swirl": (1e-4, 3e-4),
        }
    )


@dataclass(frozen=True)
class Column:
    """The arms of one seed and one number of labelled episodes.

    Args:
        recipe: of the environment.
        seed: of labels, batches and draws.
        labels: number of labelled episodes.
        lengths: of the column's texts.
        options: of every run: configuration, data, model.
        folder: where its runs are made.
        ledger: where its results go.
        slots: as many as runs may be made at a time, shared by all columns.
    """

    recipe: Recipe
    seed: int
    labels: int
    lengths: Lengths
    options: tuple[str, ...]
    folder: Path
    ledger: Ledger
    slots: Semaphore = field(default_factory=Semaphore)

    def run(self, arms: tuple[str, ...]) -> None:
        """Make the arms: first those that the others need, then all others side by side."""
        self._warm_up("warm-up", *BEST_OF_N)
        self._arm("swirl", self._swirl)
        makers: dict[str, Callable[[], tuple[str, ...]]] = {
            "sft-continue": lambda: self._continued(self.recipe.rates["sft"]),
            "bootstrap-continue": lambda: self._bootstrapped("continue", self.recipe.rates["bootstrap"]),
            "bootstrap-mixed": lambda: self._bootstrapped("mixed", self.recipe.rates["bootstrap"]),
            "bootstrap-merge": lambda: self._bootstrapped("merge", self.recipe.rates["bootstrap"]),
            "swirl-bootstrap": self._swirl_with_bootstrap,
        }
        jobs = [partial(self._arm, name, maker) for name, maker in makers.items() if name in arms]
        if "swirl-shared" in arms:
            jobs.append(self._shared)
        with ThreadPoolExecutor(max(len(jobs), 1)) as pool:
            for each in [pool.submit(job) for job in jobs]:
                each.result()
        if "best-of-n" in arms and not self._found("best-of-n"):
            self._keep("best-of-n", [verified(self._warm)])

    def tune(self) -> None:
        """Every learning rate of the grid for SWIRL, SFT-continue and the mixed bootstrap."""
        self._warm_up("warm-up")
        self._arm("swirl", self._swirl)
        for rate in self.recipe.grid["swirl"]:
            rates = (f"--model.{role}.init_args.learning_rate={rate}" for role in ("fwm", "idm"))
            self._arm(f"swirl lr {rate:g}", lambda rates=tuple(rates): (*self._swirl(), *rates))
        for rate in self.recipe.grid["sft"]:
            self._arm(f"sft-continue lr {rate:g}", lambda rate=rate: self._continued(rate))
        for rate in self.recipe.grid["bootstrap"]:
            self._arm(f"bootstrap-mixed lr {rate:g}", lambda rate=rate: self._bootstrapped("mixed", rate))

    def _shared(self) -> None:
        stages = [stage | {"updates": stage["updates"] // 2} for stage in self._schedule("warm-up")["warmup"]]
        self._warm_up("warm-up-shared", "--model.shared_weights", "true", "--trainer.warmup", json.dumps(stages))
        self._arm("swirl-shared", lambda: (*self._swirl("warm-up-shared"), "--model.shared_weights", "true"))

    # ---- the options of each arm

    def _swirl(self, warm: str = "warm-up") -> tuple[str, ...]:
        options = "--trainer.warmup", "[]", "--trainer.iterations", str(self.recipe.iterations)
        return *options, *self._from(checkpoint(self.folder / warm))

    def _swirl_with_bootstrap(self) -> tuple[str, ...]:
        """Fewer VIM updates, as each of them also reads the state-only half's true next states."""
        vim, *others = self._schedule("swirl")["iteration"]
        measured = self._stages_of("swirl")[0]
        each = measured["gradient_tokens"] / measured["updates"]
        more = self._batch("swirl", vim) * self.lengths.state_only * self._scale
        vim |= {"updates": round(measured["updates"] * each / (each + more))}
        made = schedule(vim, *others, iterations=self.recipe.iterations)
        return *made, *self._from(checkpoint(self.folder / "warm-up")), "--model.bootstrap", str(self.recipe.bootstrap)

    def _supervised(self, phase: str, tokens: float, each: float, rate: float) -> tuple[str, ...]:
        """One stage of as many updates as come to so many gradient tokens, in batches of the warm-up's size."""
        stage = {"phase": phase, "updates": round(tokens / each), "learning_rate": rate}
        return schedule(stage | {"batch_size": self._warm_batch})

    def _continued(self, rate: float) -> tuple[str, ...]:
        each = self._warm_batch * 2 * self.lengths.labelled * self._scale
        return *self._supervised("sft", self._tokens, each, rate), *self._from(checkpoint(self.folder / "warm-up"))

    def _bootstrapped(self, kind: str, rate: float) -> tuple[str, ...]:
        mixed, start, tokens = kind != "continue", checkpoint(self.folder / "warm-up"), self._tokens
        if kind == "merge":
            start = with_new_fwm(start, self.folder / "new-fwm.ckpt", self.seed)
            tokens += self._warm["gradient_tokens"] // 2
        each = self._warm_batch * (self.lengths.state_only + mixed * self.lengths.labelled) * self._scale
        made = self._supervised("bootstrap", tokens, each, rate)
        return *made, *self._from(start), "--model.fwm.init_args.grpo.anchor", str(float(mixed))

    def _from(self, start: Path) -> tuple[str, ...]:
        return "--model.init_from", str(start)

    # ---- what is known of the column

    @property
    def _tokens(self) -> int:
        """Gradient tokens of SWIRL: every arm's."""
        return budget({"stages": self._stages_of("swirl")})[1]

    @property
    def _warm(self) -> Results:
        return self._stages_of("warm-up")[-1]

    @property
    def _warm_batch(self) -> int:
        """Transitions of an update of the warm-up, and of the supervised arms."""
        return self._batch("warm-up", self._schedule("warm-up")["warmup"][-1])

    def _batch(self, arm: str, stage: Results) -> int:
        return stage["batch_size"] or self._schedule(arm)["batch_size"]

    @property
    def _scale(self) -> float:
        """What was counted in the warm-up for each token that the mean length foretells: near 1."""
        return self._warm["gradient_tokens"] / self._warm["updates"] / (2 * self._warm_batch * self.lengths.labelled)

    def _schedule(self, arm: str) -> Results:
        row = self._found(arm)
        assert row is not None, f"{arm} has not been run"
        return copy.deepcopy(row["schedule"])

    def _stages_of(self, arm: str) -> list[Results]:
        row = self._found(arm)
        assert row is not None, f"{arm} has not been run"
        return row["stages"]

    def _found(self, arm: str) -> Results | None:
        return self.ledger.find(seed=self.seed, labels=self.labels, arm=arm)

    # ---- runs

    def _warm_up(self, name: str, *options: str) -> None:
        """Also where its results are known but its weights are gone: the arms to come begin with them."""
        if not (self._found(name) and checkpoint(self.folder / name).exists()):
            self._fit(name, *options, "--trainer.iterations", "0")

    def _arm(self, name: str, options: Callable[[], tuple[str, ...]]) -> None:
        if not self._found(name):
            self._fit(name, *options())
            checkpoint(self.folder / name).unlink(missing_ok=True)  # a hundred megabytes that nothing asks for again

    def _fit(self, name: str, *options: str) -> None:
        with self.slots:
            results = fit(self.folder / name, *self.options, *options)
        stages = rounded(monitored(self.folder / name))
        if self.ledger.content["settings"]["split"] == "test":  # of the other split too little was measured
            stages = [{key: value for key, value in stage.items() if key != "validation"} for stage in stages]
        before = self._found(name)
        if before is None:
            self._keep(name, stages, **({"schedule": schedule_of(results["config"])} if name in NEEDED else {}))
        elif [s["metrics"] for s in before["stages"]] != [s["metrics"] for s in stages]:
            raise SystemExit(
                f"seed {self.seed}, {self.labels} labelled episodes: {name} was made again, as its weights are gone, "
                "and came out differently (another machine?); begin with another --out"
            )

    def _keep(self, name: str, stages: list[Results], **more: Any) -> None:
        key = {"seed": self.seed, "labels": self.labels, "arm": name}
        self.ledger.add(key | {"transitions": self.lengths.labels, "stages": stages} | more)
        print(f"seed {self.seed}, {self.labels} labelled episodes: {name} done", flush=True)


def schedule_of(config: Results) -> Results:
    """What the arms need to know of a run's configuration."""
    trainer, data = config["trainer"], config["data"]["init_args"]
    return {"warmup": trainer["warmup"], "iteration": trainer["iteration"], "batch_size": data["batch_size"]}


def verified(warm: Results) -> Results:
    """The warm-up's last stage with the metrics of the next states that its IDM chose."""
    chosen = {name.replace("best_of_n/", ""): value for name, value in warm["metrics"].items() if "best_of_n/" in name}
    plain = {name: value for name, value in warm["metrics"].items() if name.startswith("idm/")}
    return warm | {"stage": "best-of-n", "seconds": 0.0, "gradient_tokens": 0, "metrics": plain | chosen}


def with_new_fwm(warm: Path, path: Path, seed: int) -> Path:
    """A checkpoint with the warm-up's IDM and a FWM adapter as it is before any training. Returns its path."""
    saved = torch.load(warm, map_location="cpu", weights_only=True)
    generator = torch.Generator().manual_seed(seed)
    for name, value in saved["state_dict"].items():
        if name.startswith("fwm/"):
            assert "lora_" in name, f"{name}: only adapters can be made new"
            value.zero_()
            if "lora_A" in name:  # as PEFT begins
                torch.nn.init.kaiming_uniform_(value, a=5**0.5, generator=generator)
    torch.save({key: saved[key] for key in ("state_dict", "swirl")}, path)
    return path
