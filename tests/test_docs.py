"""The documents say what is true: their code runs as it stands, and their links hold.

A link to a line of code carries words of that line as its title: ``[phases.py](../a/b.py#L7 "def f(")``. Where code has
moved, ``python tests/test_docs.py`` finds the lines again.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\((?P<target>[^)\s]+?)(?:#L(?P<line>\d+))?(?: \"(?P<words>[^\"]+)\")?\)")
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(?P<file>tests/\S+\.py)::(?P<name>\w+)`")


class Link(NamedTuple):
    """A relative link of a page; line and words are None where it has none."""

    page: Path
    target: str
    line: str | None
    words: str | None

    def __str__(self):
        return f"{self.page.name}: {self.target}" + (f"#L{self.line} {self.words}" if self.line else "")


def links():
    found = [Link(page, *m.groups()) for page in PAGES for m in LINK.finditer(page.read_text(encoding="utf-8"))]
    return [link for link in found if not link.target.startswith(("http", "#"))]


def blocks(page):
    """The file blocks of a page by name, which their first line says, and its shell blocks in order."""
    files, commands = {}, []
    for match in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        language, code = match["language"], match["code"]
        if language == "sh":
            commands.append(code)
        else:
            files[code.partition("\n")[0].removeprefix("# ")] = code
    return files, commands


def follow(page, folder):
    """Do what a page says, in the folder."""
    files, commands = blocks(page)
    for name, code in files.items():
        (folder / name).write_text(code, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            ["bash", "-euc", command], cwd=folder, env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def test_add_an_environment(tmp_path):
    follow("docs/add_an_environment.md", tmp_path)
    run = tmp_path / "runs/lights/version_0"
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert [stage["phase"] for stage in results["stages"]] == ["pretrain", "sft", "vim", "elbo"]
    assert results["config"]["data"]["class_path"] == "lights.LightsDataModule"
    metrics = results["stages"][-1]["metrics"]
    assert metrics["idm/token_f1"] >= 0.5  # the word that all actions share, at least: the world reached the models
    assert (run / "report.html").is_file()


def test_add_a_reward(tmp_path):
    shutil.copy(ROOT / "configs/debug.yaml", tmp_path)
    follow("docs/add_a_reward.md", tmp_path)
    rows = [row for row in history(tmp_path / "runs/debug/version_0") if row["stage"] in ("vim-1", "elbo-1")]
    assert len(rows) == 16
    for row in rows:
        assert -12 <= row["reward_Shortness"] < 0
        assert row["reward"] == pytest.approx(row["reward_LikelihoodReward"] + 0.02 * row["reward_Shortness"])


@pytest.mark.parametrize("link", links(), ids=str)
def test_links_hold(link):
    path = link.page.parent / link.target
    assert path.exists()
    assert (link.line is None) == (link.words is None), "a link to a line says words of it, and no other link does"
    if link.line:
        lines = path.read_text(encoding="utf-8").splitlines()
        there = lines[int(link.line) - 1] if 0 < int(link.line) <= len(lines) else "no such line"
        assert link.words in there, "the code has moved: run python tests/test_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_named_exist(page):
    for match in TEST.finditer(page.read_text(encoding="utf-8")):
        assert f"def {match['name']}(" in (ROOT / match["file"]).read_text(encoding="utf-8"), match[0]


def test_enough_is_checked():
    named = TEST.findall((ROOT / "docs/implementation_details.md").read_text(encoding="utf-8"))
    assert len(named) >= 8
    assert sum(link.line is not None for link in links()) >= 30


def refresh():
    """Point every link to a line at the one line that holds its words; name those that are not there once."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in links():
            if link.page == page and link.line:
                lines = (page.parent / link.target).read_text(encoding="utf-8").splitlines()
                found = [n for n, line in enumerate(lines, start=1) if link.words in line]
                if len(found) == 1:
                    old, new = (f'{link.target}#L{n} "{link.words}"' for n in (link.line, found[0]))
                    text = text.replace(old, new)
                else:
                    print(f"{link}: on the lines {found}, expected one: choose other words")
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    refresh()
