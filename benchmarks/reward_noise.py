"""How much of a reward is rounding, which floor under a group's spread keeps it out, and what a reward can choose.

    python benchmarks/reward_noise.py --run RUN_FOLDER --out benchmarks/results/reward_noise.json

Nothing is trained. A run's two roles draw groups for state-only validation rows; each group is scored by the other role
in float32, as rewards are by default, and in the precision of the base. For both phases:

- the spread: standard deviation of a group's rewards;
- the rounding: what the base's own precision adds to them, root mean square within a group;
- the sign: of the pairs in a group that float32 tells apart, the share that rounding turns round, by spread;
- the canonical edit: share of the FWM's valid edits that are spelt in another way, and what that is worth.

For the ELBO phase, of each group and the greedy answer beside it, how often the highest log P(y | x, z) + beta log
Q(z | x, y) is the right action.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from gain_lengths import data_module
from results_file import write
from torch import Tensor

from swirl_lightning.algorithms.objectives import row_sum
from swirl_lightning.engine import Sampling
from swirl_lightning.modules import SWIRL
from swirl_lightning.modules.scoring import scoring_task
from swirl_lightning.rewards import LikelihoodReward
from swirl_lightning.trained.load import load_run
from swirl_lightning.types import Ids, Transition

FLOORS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
WEIGHTS = (0.0, 0.1, 0.3, 1.0)
Normalize = Literal["mean", "sum"]


def within(x_PG: Tensor) -> Tensor:
    """Differences from the mean of each group."""
    return x_PG - x_PG.mean(1, keepdim=True)


def rounding(exact_PG: Tensor, own_PG: Tensor) -> dict[str, Any]:
    """Spread and rounding of groups of rewards, and what a floor under the spread leaves of either. Both [P, G].

    Returns:
        ``spread``: quartiles over the groups in which something differs. ``rounding``: root mean square. ``floors``:
        for each, the share of groups above it, and of the squared advantages the share that is rounding's.
    """
    spread_P = exact_PG.std(1)
    error_PG = within(own_PG - exact_PG)
    differs_P = spread_P > 0
    quartiles = (
        spread_P[differs_P if differs_P.any() else slice(None)]
        .quantile(torch.tensor([0.25, 0.5, 0.75], dtype=spread_P.dtype))
        .tolist()
    )
    floors = {}
    for floor in FLOORS:
        scale_P1 = own_PG.std(1, keepdim=True).clamp(min=floor) + 1e-4
        noise, whole = ((x_PG / scale_P1).square().sum() for x_PG in (error_PG, within(own_PG)))
        share = float(noise / whole) if whole else 0.0
        floors[str(floor)] = {"above": float((spread_P > floor).float().mean()), "noise": share}
    return {"spread": quartiles, "rounding": float(error_PG.square().mean().sqrt()), "floors": floors}


@torch.no_grad()
def measure(model: SWIRL, rows: Sequence[Transition], phase: str, seed: int, sampling: Sampling) -> dict[str, Any]:
    """One phase's groups, drawn as its update draws them."""
    fwm, idm = model.fwm, model.idm
    learner, scorer = (fwm, idm) if phase == "vim" else (idm, fwm)
    codes = [model.codec.encode(t) for t in rows]
    given = [code.given for code in codes]
    seeds = [seed + 7919 * n for n in range(len(rows))]
    if phase == "vim":
        given = idm.answer([idm.prompt(code, code.given) for code in codes], seeds).ids
    targets = given if phase == "vim" else [code.y for code in codes]
    prompts = [learner.prompt(code, its) for code, its in zip(codes, given, strict=True)]
    rollouts = learner.policy.generate(
        prompts, seeds, group_size=learner.grpo.group_size, max_tokens=learner.max_new_tokens, sampling=sampling
    )
    task = scoring_task(rollouts, rows, codes, targets, learner=learner, scorer=scorer, codec=model.codec)
    found: dict[str, Any] = {"groups": len(rows), "distinct": len(rollouts.completions) / rollouts.row_of.numel()}
    for normalize in ("mean", "sum"):
        exact_PG, own_PG = (
            LikelihoodReward(normalize, None, precision, "worst")(rollouts, task, scorer.policy)
            .total[rollouts.row_of].double()
            for precision in ("float32", "own")
        )  # fmt: skip
        found[normalize] = rounding(exact_PG, own_PG)
    if phase == "vim":
        found["spelling"] = spellings(model, rows, codes, targets, rollouts, task)
    else:
        found["chosen"] = chosen(model, rows, codes, prompts, rollouts, task)
    return found


def spellings(model: SWIRL, rows: Any, codes: Any, targets: list[Ids], rollouts: Any, task: Any) -> dict[str, float]:
    """How many valid edits are not the canonical one, and what of the reward the spelling is, in nats per token."""
    valid = [n for n, text in enumerate(task.texts) if text is not None and rollouts.finished[n]]
    places = [(n, int(rollouts.prompt_of[n])) for n in valid]
    said = [replace(rows[p], next_state=task.texts[n]) for n, p in places]
    canonical = model.codec.encode_next_states(said, model.codec.state_form)
    others = [(n, p, ids) for (n, p), ids in zip(places, canonical, strict=True)]
    changed = [(n, p, ids) for n, p, ids in others if ids != rollouts.completions[n]]
    share = float(rollouts.counts[[n for n, *_ in changed]].sum() / rollouts.counts[valid].sum()) if changed else 0.0
    if not changed:
        return {"other": share, "difference": 0.0}

    def score(ids: list[Ids]) -> Tensor:
        prompts = [model.idm.prompt(codes[p], its) for (_, p, _), its in zip(changed, ids, strict=True)]
        ends = [(*targets[p], model.codec.eos) for _, p, _ in changed]
        with model.weights.scoring_precision():
            scores = model.idm.policy.logprobs(prompts, torch.arange(len(ends)), ends, list(map(len, ends)))
        return row_sum(scores.logp, scores.mask) / scores.mask.sum(1)

    difference = score([ids for *_, ids in changed]) - score([rollouts.completions[n] for n, *_ in changed])
    return {"other": share, "difference": float(difference.square().mean().sqrt())}


def chosen(model: SWIRL, rows: Any, codes: Any, prompts: list[Ids], rollouts: Any, task: Any) -> dict[str, float]:
    """The share of groups in which the answer taken is the right one."""
    f_N = LikelihoodReward("sum", floor=None, precision="float32")(rollouts, task, model.fwm.policy).total
    ends = [(*ids, model.codec.eos) for ids in rollouts.completions]
    with model.weights.scoring_precision():
        scores = model.idm.policy.logprobs(prompts, rollouts.prompt_of, ends, list(map(len, ends)))
    q_N = row_sum(scores.logp, scores.mask)
    right_N = [task.texts[n] == rows[p].action for n, p in enumerate(rollouts.prompt_of.tolist())]
    of_P: dict[int, list[int]] = {}
    for n, p in enumerate(rollouts.prompt_of.tolist()):
        of_P.setdefault(p, []).append(n)
    greedy = [t.action == model.codec.action(ids) for t, ids in zip(rows, model.idm.answer(prompts).ids, strict=True)]
    found = {"greedy": sum(greedy) / len(rows)}
    for weight in WEIGHTS:
        value_N = (f_N + weight * q_N).tolist()
        taken = [max(group, key=lambda n: value_N[n]) for group in of_P.values()]
        found[f"F + {weight:g} Q"] = sum(right_N[n] for n in taken) / len(rows)
    found["any"] = sum(any(right_N[n] for n in group) for group in of_P.values()) / len(rows)
    return found


def table(content: dict[str, Any]) -> str:
    """What a floor does to rounding, by phase and form of the reward."""
    head = ("phase", "reward", "median spread", "rounding", *(f"floor {floor:g}" for floor in FLOORS))
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for phase in ("vim", "elbo"):
        for normalize in ("mean", "sum"):
            its = content[phase][normalize]
            cells = [f"{f['above']:.2f}, {100 * f['noise']:.1f} %" for f in its["floors"].values()]
            spread = f"{its['spread'][1]:.3f}"
            lines.append("| " + " | ".join((phase, normalize, spread, f"{its['rounding']:.4f}", *cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--checkpoint", type=Path, help="another checkpoint than its last")
    parser.add_argument("--rows", type=int, default=120, help="validation rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = load_run(options.run, options.checkpoint)
    data = data_module(options.run / "config.yaml")
    data.setup()
    rows = list(data.validation)[: options.rows]
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k)
    content: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
    }
    content |= {phase: measure(model, rows, phase, options.seed, sampling) for phase in ("vim", "elbo")}
    write(options.out, content, depth=3)
    print(table(content))
    print({name: content["elbo"]["chosen"][name] for name in content["elbo"]["chosen"]}, content["vim"]["spelling"])


if __name__ == "__main__":
    main()
