"""A world is a folder: it has the same two doors as the others, knows none of them and can be deleted."""

import ast
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "swirl_lightning"
ENVIRONMENTS = PACKAGE / "environments"
# what each world alone may import, as it need not be installed
ENGINES = {
    "aurora": set(),
    "bytemorph": set(),
    "crafter": {"crafter"},
    "minigrid": {"minigrid"},
    "physics": {"py4j", "scienceworld"},
    "textworld": {"textworld"},
    "tool": {"httpx2", "mcp", "mcp_types"},
    "video": {"av"},
    "web": {"miniwob", "selenium"},
    "worldprediction": set(),
}
BENCHMARKS = {"aurora", "bytemorph", "worldprediction"}  # they are read as published, nothing is collected
COLLECTED = sorted(ENGINES.keys() - BENCHMARKS)
USED = {"worldprediction": {"video"}}  # whose frames it cuts from videos
LOGS = {"video"}  # what they collect is a log, which has its own data module
OPTIONAL = set().union(*ENGINES.values())
MIXTURES = {"webtool.py": {"web", "tool"}}  # the one file outside that names worlds
# what a collector must not wait for
HEAVY = {"torch", "lightning", "pytorch_lightning", "torchmetrics", "transformers", "pyarrow", *OPTIONAL}

WORLDS = sorted(path.parent.name for path in ENVIRONMENTS.glob("*/__init__.py"))
FILES = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.glob("**/*.py")}
FILES |= {f"callbacks/{path.name}": path for path in (ROOT / "callbacks").glob("*.py")}
COMMON = [*ENVIRONMENTS.glob("*.py"), *(PACKAGE / "metrics").glob("*.py")]


def imported(nodes):
    """Full names of what is imported, types that are only named too."""
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def package_of(world):
    return f"swirl_lightning.environments.{world}"


def worlds_in(tree):
    """The worlds that a file imports from, or names in a string."""
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names = imported(ast.walk(tree))
    return {w for w in WORLDS if w in texts or any(f"{name}.".startswith(f"{package_of(w)}.") for name in names)}


def when_loaded(tree):
    """The nodes of a file that run when it is imported: no bodies of functions, no types that are only named."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        yield node
        nodes += ast.iter_child_nodes(node)


def run(code, *args):
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_worlds_are_known_here():
    assert sorted(ENGINES) == WORLDS


@pytest.mark.parametrize("world", COLLECTED)
def test_a_world_has_a_collector(world):
    assert callable(getattr(import_module(f"{package_of(world)}.collect"), f"collect_{world}"))


@pytest.mark.parametrize("world", sorted(set(WORLDS) - LOGS))
def test_a_world_has_a_data_module(world):
    package = import_module(package_of(world))
    [name] = package.__all__
    module = import_module(f"{package.__name__}.datamodule")
    assert getattr(package, name) is getattr(module, name)
    assert getattr(package, name).__module__ == module.__name__
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_knows_no_other(world):
    for path in (ENVIRONMENTS / world).glob("*.py"):
        assert worlds_in(ast.parse(path.read_text())) <= {world} | USED.get(world, set()), path.name


@pytest.mark.parametrize("path", COMMON, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_worlds_have_in_common_names_none(path):
    assert worlds_in(ast.parse(path.read_text())) == MIXTURES.get(path.name, set())


@pytest.mark.parametrize("name", sorted(FILES))
def test_optional_packages_stay_in_their_world_and_wait_for_their_use(name):
    tree = ast.parse(FILES[name].read_text())
    world = name.split("/")[1] if name.startswith("environments/") else ""
    anywhere = {module.split(".")[0] for module in imported(ast.walk(tree))}
    assert anywhere & OPTIONAL <= ENGINES.get(world, set())
    assert not {module.split(".")[0] for module in imported(when_loaded(tree))} & OPTIONAL


def test_the_rules_see_what_they_forbid():
    tree = ast.parse(
        "import mcp.client\nif TYPE_CHECKING:\n    import textworld\ndef f():\n    from selenium import x\n"
        "from swirl_lightning.environments.web import page\nfrom swirl_lightning.environments import tool\n"
        "x = 'physics'"
    )
    assert worlds_in(tree) == {"web", "tool", "physics"}
    assert {name.split(".")[0] for name in imported(when_loaded(tree))} == {"mcp", "swirl_lightning"}
    assert {"textworld", "selenium.x"} <= set(imported(ast.walk(tree)))


def test_a_collector_loads_nothing_heavy():
    code = """
import sys
from importlib import import_module
for world in sys.argv[1].split():
    import_module(f"swirl_lightning.environments.{world}.collect")
    print(world, *sorted({name.split(".")[0] for name in sys.modules} & set(sys.argv[2].split())))
"""
    assert run(code, " ".join(COLLECTED), " ".join(HEAVY)).splitlines() == COLLECTED


def test_each_world_can_be_deleted(tmp_path):
    """Everything else of ``environments`` is imported from a copy of the package without it."""
    for world in WORLDS:
        copy = tmp_path / world / "swirl_lightning"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.rmtree(copy / "environments" / world)
        for name in (name for name, its in MIXTURES.items() if world in its):
            (copy / "environments" / name).unlink()
    code = """
import pkgutil, sys
from importlib import import_module
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    for name in [name for name in sys.modules if name.split(".")[0] == "swirl_lightning"]:
        del sys.modules[name]
    package = import_module("swirl_lightning.environments")
    assert package.__file__.startswith(folder), package.__file__
    modules = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    print(*(import_module(found.name).__name__ for found in modules))
"""
    lines = run(code, *(str(tmp_path / world) for world in WORLDS)).splitlines()
    every = {name.removesuffix(".py").replace("/", ".") for name in FILES if name.startswith("environments/")}
    every = {f"swirl_lightning.{name}".removesuffix(".__init__") for name in every} - {"swirl_lightning.environments"}
    for world, line in zip(WORLDS, lines, strict=True):
        gone = {f"swirl_lightning.environments.{Path(name).stem}" for name, its in MIXTURES.items() if world in its}
        gone |= {name for name in every if f"{name}.".startswith(f"{package_of(world)}.")}
        assert set(line.split()) == every - gone
