"""The documents say what is true: their code runs as it stands, their links hold, their options exist.

A link whose text is a name in code font and that leads to a Python file says where that name is defined, as in
``[`group_advantages`](../swirl_lightning/algorithms/grpo.py)``: a function, a class, a method or attribute of a class
(``VIM.step``), or a constant.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from jsonargparse import ActionConfigFile, ArgumentParser

from swirl_lightning.environments.base import TransitionDataModule
from swirl_lightning.modules import SWIRL
from swirl_lightning.trainer import SwirlTrainer

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?:#(?P<part>[^)\s]+))?\)")
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TEST = re.compile(r"`(?P<file>tests/\S+\.py)::(?P<name>\w+)`")
OPTION = re.compile(r"--(?:model|trainer|data)\.")
WIDEST = 105
DEBUG = ROOT / "configs/debug.yaml"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# ---- links


class Link(NamedTuple):
    """A link of a page to another page, a file or a heading of this repository."""

    page: Path
    text: str
    target: str
    part: str | None

    @property
    def path(self):
        return self.page if not self.target else (self.page.parent / self.target).resolve()

    @property
    def name(self):
        """The name that the file must define; None where the link speaks of the file as a whole."""
        found = re.fullmatch(r"`([\w.]+)`", self.text)
        return found[1] if found and self.path.suffix == ".py" else None

    def __str__(self):
        return f"{self.page.name}: {self.text} ({self.target}{'#' + self.part if self.part else ''})"


def links():
    found = [Link(page, *match.groups()) for page in PAGES for match in LINK.finditer(prose(page))]
    return [link for link in found if not link.target.startswith("http")]


def prose(page):
    """A page without its code blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


@cache
def defined(path):
    """What a file defines: functions, classes, constants, and what stands in a class, as ``Class.name``."""
    return names_of(ast.parse(path.read_text(encoding="utf-8")).body)


def names_of(body, prefix=""):
    found = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= names_of(node.body, f"{prefix}{node.name}.")
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
    return found


def anchor(heading):
    """The part of an address that leads to a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("link", links(), ids=str)
def test_links_hold(link):
    assert link.path.exists()
    if link.name:
        assert link.name in defined(link.path), f"{link.target} defines no {link.name}"
    if link.part:
        assert link.path.suffix == ".md", (
            "a link to a line of code is wrong as soon as the file changes: link to a name"
        )
        assert link.part in map(anchor, HEADING.findall(link.path.read_text(encoding="utf-8")))


def test_names_are_found_where_they_are_defined():
    source = (
        "A: int = 1\nB = C = 2\nclass D:\n    e: str\n    def f(self): g = 1\nasync def h(): ...\nfrom x import y\n"
    )
    assert names_of(ast.parse(source).body) == {"A", "B", "C", "D", "D.e", "D.f", "h"}
    link = Link(ROOT / "README.md", "`A.b`", "tests/test_docs.py", None)
    assert link.name == "A.b"
    assert link._replace(text="`docs/`, all").name is None
    assert (
        anchor("1. Where the paper is silent, or we do `otherwise`") == "1-where-the-paper-is-silent-or-we-do-otherwise"
    )


@every_page
def test_tests_named_exist(page):
    for match in TEST.finditer(page.read_text(encoding="utf-8")):
        assert f"def {match['name']}(" in (ROOT / match["file"]).read_text(encoding="utf-8"), match[0]


def test_enough_is_checked():
    named = TEST.findall((ROOT / "docs/implementation_details.md").read_text(encoding="utf-8"))
    assert len(named) >= 8
    assert sum(link.name is not None for link in links()) >= 40


# ---- the form of the pages


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@every_page
def test_lines_are_wrapped(page):
    long = [line for line in prose(page).splitlines() if len(line) > WIDEST and not line.lstrip().startswith("|")]
    assert not long


def test_every_page_can_be_found():
    """From the README, or from a page that the README leads to."""
    known, new = set(), {ROOT / "README.md"}
    while new:
        known |= new
        new = {link.path for link in links() if link.page in new and link.path.suffix == ".md"} - known
    assert set(PAGES) <= known


def test_the_hooks_before_a_commit_are_those_of_make_lint():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    commands = [hook["entry"] for hook in repository["hooks"]]
    assert commands == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert not any(hook["pass_filenames"] for hook in repository["hooks"])


# ---- options


@pytest.fixture(scope="module")
def parser():
    """Knows the options of ``swirl fit``, as its command line takes them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action=ActionConfigFile)
    parser.add_argument("--seed_everything", type=int)
    parser.add_class_arguments(SwirlTrainer, "trainer")
    parser.add_class_arguments(SWIRL, "model")
    parser.add_subclass_arguments(TransitionDataModule, "data", required=True)
    return parser


def configuration_of(words):
    """The configuration that a command uses: its own ``--config``, or that of the gain benchmark it runs."""
    if "--config" in words:
        return ROOT / words[words.index("--config") + 1]
    script = next((ROOT / word for word in words if re.fullmatch(r"benchmarks/\w+_gain\.py", word)), None)
    found = script and re.search(r'"configs" / "([\w-]+\.yaml)"', script.read_text(encoding="utf-8"))
    return ROOT / "configs" / found[1] if found else DEBUG


def options_of(words):
    """A command's options of model, trainer and data; a benchmark's own ``--data`` is a folder."""
    given, benchmark = [], any(word.startswith("benchmarks/") for word in words)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if (word == "--data" and not benchmark) or (OPTION.match(word) and "=" not in word):
            given += [word, following]
        elif OPTION.match(word):
            given.append(word)
    return given


def commands():
    """The commands of all pages that have options of model, trainer or data."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        code = "".join(match["code"] for match in BLOCK.finditer(text) if match["language"] == "sh")
        lines = [line for line in code.replace("\\\n", " ").splitlines() if OPTION.search(line) or "--data " in line]
        lines += re.findall(r"`(--(?:model|trainer|data)\.[^`]*=[^`]*)`", text)
        split = [shlex.split(line, comments=True) for line in lines]
        found += [(page, words) for words in split if options_of(words)]
    return found


COMMANDS = commands()


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page.name}: {' '.join(words)[:80]}" for page, words in COMMANDS]
)
def test_options_exist(page, words, parser):
    parser.parse_args([f"--config={configuration_of(words)}", *options_of(words)])


YAML = [
    (page, match["code"])
    for page in PAGES
    for match in BLOCK.finditer(page.read_text(encoding="utf-8"))
    if match["language"] == "yaml" and not match["code"].startswith("# ")  # those are files of a guide, which are run
]


@pytest.mark.parametrize(("page", "code"), YAML, ids=[page.name for page, _ in YAML])
def test_settings_in_yaml_are_configurations(page, code, parser, tmp_path):
    (tmp_path / "more.yaml").write_text(code, encoding="utf-8")
    parser.parse_args([f"--config={DEBUG}", f"--config={tmp_path / 'more.yaml'}"])


def test_enough_options_are_checked(parser):
    assert len(COMMANDS) >= 8
    assert len(YAML) >= 6
    with pytest.raises(Exception, match=r"grop"):
        parser.parse_args([f"--config={DEBUG}", *options_of(["swirl", "--model.fwm.init_args.grop.beta", "1"])])


# ---- the guides


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


def test_add_a_world(tmp_path):
    follow("docs/add_a_world.md", tmp_path)
    run = tmp_path / "runs/lights/version_0"
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert [stage["phase"] for stage in results["stages"]] == ["pretrain", "sft", "vim", "elbo"]
    assert results["config"]["data"]["class_path"] == "lights.LightsDataModule"
    metrics = results["stages"][-1]["metrics"]
    assert metrics["idm/token_f1"] >= 0.5  # the word that all actions share, at least: the world reached the models
    assert (run / "report.html").is_file()


def test_add_a_reward(tmp_path):
    shutil.copy(DEBUG, tmp_path)
    follow("docs/add_a_reward.md", tmp_path)
    rows = [row for row in history(tmp_path / "runs/debug/version_0") if row["stage"] in ("vim-1", "elbo-1")]
    assert len(rows) == 16
    for row in rows:
        assert -12 <= row["reward_Shortness"] < 0
        assert row["reward"] == pytest.approx(row["reward_LikelihoodReward"] + 0.02 * row["reward_Shortness"])


def test_add_a_phase(tmp_path):
    shutil.copy(DEBUG, tmp_path)
    follow("docs/add_a_phase.md", tmp_path)
    run = tmp_path / "runs/debug/version_0"
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    before, after = (next(s for s in results["stages"] if s["stage"] == name) for name in ("warmup", "naming-1"))
    roles = {name.partition("/")[0] for name, value in after["metrics"].items() if value != before["metrics"][name]}
    assert roles == {"idm"}  # the other role stood still
    losses = [row["loss"] for row in history(run) if row["stage"] == "naming-1"]
    assert len(losses) == 8
    assert all(loss > 0 for loss in losses)
