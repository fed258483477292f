"""``swirl judge``: a language model scores predictions that lie in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swirl_lightning.commands.parser import Parser
from swirl_lightning.types import InputError, check_number, printable, say

if TYPE_CHECKING:
    from swirl_lightning.metrics.judge.judge import Judgement
    from swirl_lightning.metrics.judge.question import Case
    from swirl_lightning.metrics.judge.rubric import Rubric

RUBRICS = "agentworld for texts; aurora, bytemorph and worldprediction for images"


def judge(args: list[str]) -> int:
    """Write the judgements and what they come to. Returns 0 where every prediction has a score, else 1."""
    parser = Parser(
        prog="swirl judge",
        description="Let a language model behind an OpenAI-compatible address score predicted next states. It sees the "
        "action, the state, the true next state and the prediction. Every answer is kept: what has one is not asked "
        "again.",
    )
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS",
        help="what 'swirl predict' wrote, or the folder of it; or the samples.jsonl of a run, for each of its stages",
    )  # fmt: skip
    parser.add_argument("--rubric", type=str, required=True, help=f"{RUBRICS}; or a YAML file of your own")
    parser.add_argument("--url", type=str, required=True, help="of the API, such as https://api.openai.com/v1")
    parser.add_argument("--model", type=str, required=True, help="the model's name there")
    parser.add_argument(
        "--key_variable", type=str | None, help="the environment variable with the API key, which is written nowhere"
    )
    parser.add_argument("--out", type=Path | None, help="the folder to write; null means judge-RUBRIC beside the input")
    parser.add_argument(
        "--options", type=dict[str, Any], default={"temperature": 0}, help="what each request says beside the messages"
    )
    parser.add_argument("--budget", type=int, default=1000, help="most requests, those made again included")
    parser.add_argument("--parallel", type=int, default=4, help="requests that are made at once")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds without an answer that end a request")
    parser.add_argument("--retries", type=int, default=6, help="how often a request is made again")
    options = parser.parse_args(args)
    for name, least in (("budget", 0), ("parallel", 1), ("retries", 0)):
        check_number(f"--{name}", options[name], least=least)
    check_number("--timeout", options.timeout, above=0)

    from swirl_lightning.metrics.judge.cache import AnswerCache
    from swirl_lightning.metrics.judge.endpoint import Endpoint
    from swirl_lightning.metrics.judge.judge import Judge
    from swirl_lightning.metrics.judge.rubric import read_rubric
    from swirl_lightning.report.run import write_whole

    rubric = read_rubric(options.rubric)
    endpoint = Endpoint(options.url, _key(options.key_variable), options.timeout, options.retries, options.budget)
    rows, cases = _read(options.predictions, rubric)
    beside = options.predictions if options.predictions.is_dir() else options.predictions.parent
    out: Path = options.out or beside / f"judge-{rubric.name}"
    judge = Judge(rubric, endpoint, options.model, options.options, AnswerCache(out / "answers"))
    judgements = list(judge.judge_all(cases, options.parallel))
    judged = "".join(json.dumps(_row(row, its)) + "\n" for row, its in zip(rows, judgements, strict=True))
    write_whole(out / "judgements.jsonl", judged)
    asked = {"rubric": rubric.name, "url": options.url, "model": options.model, "options": options.options}
    summary = asked | {"requests": endpoint.requests, "stages": _stages(rubric, rows, judgements)}
    write_whole(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    for stage, its in summary["stages"].items():
        say(_shown(stage, its))
    say(f"requests: {endpoint.requests}\njudgements: {out / 'judgements.jsonl'}\nsummary: {out / 'summary.json'}")
    unjudged = [its.problem for its in judgements if its.score is None]
    if unjudged:
        say(f"{len(unjudged)} of {len(judgements)} have no score; the first: {printable(str(unjudged[0]), kept='')}")
        say("the same command asks for those alone")
    return 1 if unjudged else 0


def _key(variable: str | None) -> str:
    """The API key of an environment variable."""
    if variable is None:
        return ""
    if not (key := os.environ.get(variable, "").strip()):
        raise InputError(f"--key_variable: found no value in the environment variable {variable}, expected the API key")
    return key


def _read(path: Path, rubric: Rubric) -> tuple[list[dict[str, Any]], list[Case]]:
    """The rows of predictions, and each as a case that the rubric is for."""
    from swirl_lightning.environments.rows import json_lines
    from swirl_lightning.metrics.judge.question import case_of, check_states

    files = sorted(path.glob("predictions*.jsonl")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise InputError(f"{path}: found no predictions.jsonl, expected what 'swirl predict' writes; check the path")
    rows, cases = [], []
    for file in files:
        for line, row in json_lines(file):
            try:
                if not (isinstance(row, dict) and type(row.get("step")) is int):
                    raise InputError("found no object with a step, expected a row of predictions")
                cases.append(case_of(row, file.parent))
                check_states(rubric, cases[-1])
            except InputError as error:
                raise InputError(f"{file}:{line}: {error}") from error
            rows.append(row)
    if not rows:
        raise InputError(f"{path}: found no row, expected a prediction at least")
    return rows, cases


def _row(row: Mapping[str, Any], its: Judgement) -> dict[str, Any]:
    place = {key: row[key] for key in ("stage", "episode", "step") if key in row}
    found = {"status": its.status, "score": its.score, "criteria": dict(its.numbers)}
    return place | found | {"answer": its.answer, "problem": its.problem}


def _stages(rubric: Rubric, rows: Sequence[Mapping[str, Any]], judgements: Sequence[Judgement]) -> dict[str, Any]:
    """The summary of each stage; of predictions that name none, the one of all."""
    from swirl_lightning.metrics.judge.judge import summarise

    stages: dict[str, list[int]] = {}
    for n, row in enumerate(rows):
        stages.setdefault(str(row.get("stage", "all")), []).append(n)
    return {
        stage: summarise(rubric, [judgements[n] for n in its], [rows[n]["step"] for n in its])
        for stage, its in stages.items()
    }


def _shown(stage: str, its: Mapping[str, Any]) -> str:
    """A line or two for a stage."""
    if its["score"] is None:
        return f"{stage}: no score"
    error = "" if its["standard_error"] is None else f" ± {its['standard_error']:.2f} (standard error)"
    line = f"{stage}: {its['score']:.2f}{error} over {its['scored'] + its['malformed']} of {its['predictions']}"
    told = [f"{its[name]} {name}" for name in ("malformed", "unparsed", "unanswered", "unasked") if its[name]]
    line += f"; {', '.join(told)}" if told else ""
    if "turns" in its:
        turns = ", ".join(f"turn {turn} {found['score']:.2f}" for turn, found in its["turns"].items())
        line += f"\n  {turns}; mean of turns {its['mean_of_turns']:.2f}"
    return line
