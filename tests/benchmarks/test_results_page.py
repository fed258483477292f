"""The tables of the README, docs/results.md and docs/speed.md hold the figures of the files in benchmarks/results."""

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from gain_table import Point, points

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SECTIONS = {
    "Small models from scratch: TextWorld": "gain",
    "Pages: MiniWoB++": "web_gain",
    "Whole pages in place of edits": "web_full_gain",
    "More and fewer labels": "web_gain",
    "Tool calls: a Model Context Protocol server": "tool_gain",
    "Rooms: ScienceWorld": "physics_gain",
}
ARMS = {
    "warm-up": "warm-up", "best of 4 by the IDM": "best-of-n", "best of 4": "best-of-n", "SFT-continue": "sft-continue",
    "bootstrap, continued": "bootstrap-continue", "bootstrap, merged": "bootstrap-merge",
    "SWIRL, iteration 1": "swirl, iteration 1", "SWIRL, iteration 2": "swirl, iteration 2",
    "SWIRL + bootstrap, iteration 2": "swirl-bootstrap, iteration 2", "one weight set, its warm-up": "warm-up-shared",
    "SWIRL with one, iteration 1": "swirl-shared, iteration 1",
    "SWIRL with one, iteration 2": "swirl-shared, iteration 2",
    "**SWIRL + bootstrap** (the quickstart)": "swirl + bootstrap", "SWIRL alone": "swirl alone",
    "SFT-continue, equal gradient tokens": "sft-continue, equal tokens",
    "SFT-continue, equal seconds": "sft-continue, equal seconds",
    "bootstrap, equal gradient tokens": "bootstrap, equal tokens",
    "bootstrap, equal seconds": "bootstrap, equal seconds",
}  # fmt: skip
COLUMNS = {
    "FWM exact match": "fwm/exact_match", "FWM ROUGE-L": "fwm/rouge_l", "FWM delta F1": "fwm/delta_f1",
    "FWM BLEU": "fwm/char_bleu", "FWM log-prob": "fwm/logp", "IDM exact match": "idm/exact_match",
    "IDM log-prob": "idm/logp",
}  # fmt: skip
CELL = re.compile(
    r"\**(?P<mean>-?[\d.]+)(?: ± (?P<sd>[\d.]+))?\**"
    r"(?: \((?P<gain>[+-]?[\d.]+) ± (?P<gain_sd>[\d.]+); (?P<rose>\d) of (?P<seeds>\d)\))?"
)


def points_of(name, labels):
    """The points of a file of results, by arm."""
    content = json.loads((RESULTS / f"{name}.json").read_text())
    if name == "gain":
        found = [
            Point(arm, run["seed"], row["metrics"], run["arms"]["warm-up"]["metrics"], 0.0, row["gradient_tokens"])
            for run in content["seeds"]
            for arm, row in run["arms"].items()
        ]
    elif name in ("phase_gain_rooms", "minigrid_gain"):
        last = {(row["seed"], row["arm"]): row["stages"][-1] for row in content["rows"]}
        found = [
            Point(arm, seed, stage["metrics"], last[seed, "warm-up"]["metrics"], 0.0, stage["gradient_tokens"])
            for (seed, arm), stage in last.items()
        ]
    else:
        found = list(points([row for row in content["rows"] if row["labels"] == labels], "test"))
    return {point.name: [p for p in found if p.name == point.name] for point in found}


def tables(text):
    """The rows of every table as (section, cells by column), with the first column's gaps filled from above."""
    section, head, above = "", [], ""
    for line in text.splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not head:
            head = cells
        elif not set(line) <= set("|- "):
            above = cells[0] or above
            yield section, dict(zip(head, [above, *cells[1:]], strict=True))


def check(cell, found, metric):
    """Compare what a cell shows, to its last digit."""
    shown = CELL.fullmatch(cell)
    assert shown, cell
    values = [point.metrics[metric] for point in found]
    gains = [point.metrics[metric] - point.before[metric] for point in found]
    points_of_hundred = 1 if metric == "fwm/char_bleu" else 100
    expected = {
        "mean": mean(values), "sd": stdev(values), "gain": points_of_hundred * mean(gains),
        "gain_sd": points_of_hundred * stdev(gains), "rose": sum(gain > 0 for gain in gains), "seeds": len(gains),
    }  # fmt: skip
    for name, text in shown.groupdict().items():
        if text is not None:
            digits = len(text.partition(".")[2])
            assert float(text) == pytest.approx(expected[name], abs=0.501 * 10**-digits), f"{name} of {cell}"


ROWS = [
    (section, row)
    for section, row in tables((ROOT / "docs/results.md").read_text(encoding="utf-8"))
    if section in SECTIONS and "setting" not in row
]


def test_all_tables_are_found():
    assert {section for section, _ in ROWS} == set(SECTIONS)
    assert len(ROWS) >= 48


@pytest.mark.parametrize(("section", "row"), ROWS, ids=[f"{section}-{row['after']}" for section, row in ROWS])
def test_a_row_of_the_results(section, row):
    labels = next((text.split()[0] for name, text in row.items() if name.startswith("labelled episodes")), "16")
    found = points_of(SECTIONS[section], int(labels))[ARMS[row["after"]]]
    checked = [name for name in COLUMNS if name in row and row[name] not in ("", "the warm-up's")]
    for name in checked:
        check(row[name], found, COLUMNS[name])
    assert checked


@pytest.mark.parametrize(
    ("world", "file", "swirl", "fwm", "idm"),
    [
        ("TextWorld,", "gain", "swirl + bootstrap", "bootstrap, equal seconds", "sft-continue, equal seconds"),
        ("MiniGrid", "minigrid_gain", "bootstrap and elbo in turn", "bootstrap", "SFT-continue"),
        ("rooms of TextWorld", "phase_gain_rooms", "bootstrap, elbo", "bootstrap", "sft-continue"),
        ("MiniWoB++", "web_gain", "swirl, iteration 2", "best-of-n", "sft-continue"),
        ("tool calls", "tool_gain", "swirl, iteration 2", "sft-continue", "sft-continue"),
        ("ScienceWorld", "physics_gain", "swirl, iteration 2", "bootstrap-continue", "sft-continue"),
    ],
)
def test_the_table_of_the_readme(world, file, swirl, fwm, idm):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {world}"))
    found = points_of(file, 16)
    arms = ("warm-up", swirl, fwm, "warm-up", swirl, idm)
    for i, (cell, arm) in enumerate(zip(line.strip("|").split("|")[1:], arms, strict=True)):
        check(cell.strip(), found[arm], "fwm/exact_match" if i < 3 else "idm/exact_match")
    best = {
        role: max(
            mean(p.metrics[f"{role}/exact_match"] for p in each)
            for name, each in found.items()
            if not re.search("swirl|elbo|vim", name, re.IGNORECASE) and len(each) == len(found["warm-up"])
        )
        for role in ("fwm", "idm")
    }
    for role, arm in (("fwm", fwm), ("idm", idm)):  # no baseline is better than the one that is shown
        assert mean(p.metrics[f"{role}/exact_match"] for p in found[arm]) == pytest.approx(best[role])


CASES = {
    "ELBO": ("elbo", 0), "ELBO, small": ("elbo-small", 0), "ELBO, a delta is scored": ("growth", 0), "VIM": ("vim", 0),
    "VIM, short prompt": ("vim-short", 0), "VIM, 8 real prompts": ("textworld", 0),
    "ELBO, 8 real prompts": ("textworld", 1),
    "ELBO, P 1024, T 16, G 16, S 512": ("elbo", 0), "ELBO, P 512, T 16, G 8, S 256": ("elbo-small", 0),
    "ELBO, P 1024, T 16, G 8, S 32": ("growth", 0), "VIM, P 512, T 128, G 8, S 16": ("vim", 0),
    "VIM, P 128, T 128, G 8, S 16": ("vim-short", 0), "ELBO, prompt of 1,024 tokens, 16 completions of 16": ("elbo", 0),
    "VIM, prompt of 512 tokens, 8 completions of 128": ("vim", 0),
    "VIM, prompt of 128 tokens, 8 completions of 128": ("vim-short", 0),
    "the same, all 64 completions distinct": ("growth", 0), "the same, G 64": ("growth", 0),
}  # fmt: skip
UPDATES = [
    row
    for page in ("README.md", "docs/speed.md")
    for _, row in tables((ROOT / page).read_text(encoding="utf-8"))
    if next(iter(row)) == "update"
]


def test_all_updates_are_found():
    assert len(UPDATES) == 3 + 8 + 6
    assert {row["update"] for row in UPDATES} == set(CASES)


@pytest.mark.parametrize("row", UPDATES, ids=[row["update"] for row in UPDATES])
def test_a_row_of_the_speeds(row):
    name, index = CASES[row["update"]]
    point = json.loads((RESULTS / f"vs_trl_{name}.json").read_text())["points"][index]
    grown = row["update"].startswith("the same")
    ours, trl = point["ours_grown" if grown else "ours"], point["trl"]

    def parts(side):
        return list(side["seconds_by_part"].values())

    memory = [ours["peak_memory_mib"] / 1024] + ([] if grown else [trl["peak_memory_mib"] / 1024])
    columns = {
        "ours": [ours["seconds"]], "swirl-lightning": [ours["seconds"]], "TRL": [trl["seconds"]],
        "times as fast": [point["speedup"]], "peak memory": memory,
        "seconds: generation, scoring, update": parts(ours), "TRL's": parts(trl), "floor": [point["floor_seconds"]],
        "times the floor": [point["times_the_floor"]],
    }  # fmt: skip
    for column, expected in columns.items():
        if row.get(column):
            shown = [float(number) for number in re.findall(r"[\d.]+", row[column])]
            assert shown == pytest.approx(expected, abs=0.0501), column
