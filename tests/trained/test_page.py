"""docs/use_a_run.md, followed to the letter with the tiny run in the place of the quickstart's."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from swirl_lightning.commands import main

PAGE = (Path(__file__).parents[2] / "docs/use_a_run.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(run, tmp_path, monkeypatch):
    (tmp_path / "runs/quickstart").mkdir(parents=True)
    (tmp_path / "runs/quickstart/version_0").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page(place):
    """The tiny run knows nothing of the page's world: what counts is that no command and no line of Python is wrong."""
    commands = []
    for block in BLOCK.finditer(PAGE):
        if block["language"] == "sh":
            lines = block["code"].splitlines(keepends=True)
            swirl = [shlex.split(line) for line in lines if line.startswith("swirl ")]
            preparation = "".join(line for line in lines if not line.startswith("swirl "))
            subprocess.run(["bash", "-euc", preparation], check=True)
            for command in swirl:
                assert main(command[1:]) in (0, 1), command  # 1: nothing of use was predicted
                commands.append(command[1])
    assert commands == ["label", "rollout", "export"]
    files = {path.name for path in place.iterdir()}
    assert files >= {"labelled.jsonl", "labelled.scores.jsonl", "steps.jsonl", "exported"}
    python = [block["code"] for block in BLOCK.finditer(PAGE) if block["language"] == "python"]
    assert len(python) == 2
    exec(compile("\n".join(python), "page", "exec"), {})
