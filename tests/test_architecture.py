"""The shape of the code: layers, who may import what, and small files."""

import ast
import sys
from pathlib import Path

import lightning as L
import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    "types", "blame", "ending", "pictures", "algorithms", "codecs", "engine", "plan", "models", "metrics",
    "environments", "rewards", "modules", "loops", "report", "callbacks", "trainer", "trained", "commands", "__main__",
)  # fmt: skip
PACKAGE = sorted((ROOT / "swirl_lightning").glob("**/*.py")) + sorted((ROOT / "callbacks").glob("**/*.py"))
FILES = {str(path.relative_to(ROOT)): path for path in PACKAGE}
LONGEST, LONGEST_TEST = 400, 400
MODEL_LIBRARIES = {"transformers", "peft", "bitsandbytes", "tokenizers", "gguf"}

# what a file may take of a trainer that it is given: what Lightning's own has
LIGHTNING = set(dir(L.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False)))
BELOW_TRAINER = LAYERS[: LAYERS.index("trainer")]

every_file = pytest.mark.parametrize("name", sorted(FILES))


def layer(name):
    """The layer of a file, or None for the package's own __init__.py."""
    parts = [part.removesuffix(".py") for part in Path(name).parts if part != "swirl_lightning"]
    return None if parts == ["__init__"] else parts[0]


def imports(tree):
    """All modules that are imported, as ``a.b`` for ``import a.b`` and as ``a.b.c`` for ``from a.b import c``.

    What stands under ``if TYPE_CHECKING`` is left out: it names types and is never run.
    """
    found = []
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        nodes += ast.iter_child_nodes(node)
    return found


def imports_of(name):
    return imports(ast.parse(FILES[name].read_text()))


def libraries_of(name):
    """Third-party packages that a file imports."""
    return {module.split(".")[0] for module in imports_of(name)} - set(sys.stdlib_module_names) - {"swirl_lightning"}


def reached(tree):
    """What is taken from anything that is called trainer: ``trainer.x``, ``self.trainer.x``, ``model._trainer.x``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in ("trainer", "_trainer"):
                yield node.attr


def graph():
    """The files that each file imports, those included that are imported for the names of types alone."""
    modules = {}
    for name, path in FILES.items():
        parts = [part.removesuffix(".py") for part in Path(name).parts if part != "__init__.py"]
        modules[".".join(parts if parts[0] == "swirl_lightning" else ["swirl_lightning", *parts])] = path
    edges = {}
    for module, path in modules.items():
        found = edges[module] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    names = (f"{node.module}.{alias.name}", node.module)
                    found |= {next((name for name in names if name in modules), module)} - {module}
    return edges


def circle(edges):
    """The files of a circle of imports; empty where there is none."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        path.append(module)
        found = next(filter(None, map(visit, sorted(edges[module]))), [])
        path.pop()
        done.add(module)
        return found

    return next(filter(None, map(visit, sorted(edges))), [])


def test_all_layers_and_files_are_found():
    assert {layer(name) for name in FILES} == {*LAYERS, None}
    assert len(FILES) == len(set(FILES.values())) > 40


@every_file
def test_a_layer_imports_only_from_its_left(name):
    own = [module.split(".")[1] for module in imports_of(name) if module.startswith("swirl_lightning.")]
    used = {part for part in own if part != "__version__"}
    if layer(name) is None:
        assert not used
    else:
        assert used <= set(LAYERS[: LAYERS.index(layer(name)) + 1])


def test_imports_have_no_circle():
    edges = graph()
    assert sum(map(len, edges.values())) > 300
    assert not circle(edges)


@pytest.mark.parametrize("name", sorted(name for name in FILES if layer(name) in BELOW_TRAINER))
def test_nothing_reaches_up_through_the_trainer(name):
    for attribute in reached(ast.parse(FILES[name].read_text())):
        assert attribute in LIGHTNING, attribute
        assert attribute != "fit_loop" or layer(name) in ("loops", "callbacks")


@every_file
def test_only_loops_import_private_lightning(name):
    private = [
        module
        for module in imports_of(name)
        if module.split(".")[0] in ("lightning", "pytorch_lightning")
        and any(part.startswith("_") for part in module.split("."))
    ]
    assert not private or layer(name) == "loops"


@every_file
def test_model_libraries_stop_at_models(name):
    assert layer(name) in ("engine", "plan", "models") or not libraries_of(name) & MODEL_LIBRARIES


@pytest.mark.parametrize("name", sorted(name for name in FILES if layer(name) in ("types", "algorithms")))
def test_algorithms_know_torch_alone(name):
    assert libraries_of(name) <= {"torch"}


@pytest.mark.parametrize("path", sorted((*PACKAGE, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py"))))
def test_files_are_small_and_have_one_job(path):
    lines = path.read_text().count("\n")
    longest = LONGEST if path in PACKAGE else LONGEST_TEST
    assert lines <= longest, f"{lines} lines, expected at most {longest}: split it by what it does"
    assert path.stem not in ("utils", "helpers", "misc", "common", "manager")


def test_rules_see_what_they_forbid():
    source = (
        "import a.b\nif TYPE_CHECKING:\n    import c\nelse:\n    import d\ndef f():\n    from lightning import _Y\n"
    )
    assert sorted(imports(ast.parse(source))) == ["a.b", "d", "lightning._Y"]
    assert list(reached(ast.parse("trainer.a\nself.trainer.b.c\nx._trainer.d\ntrainer\ny.e"))) == ["a", "d", "b"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    with pytest.raises(AssertionError, match="relative"):
        imports(ast.parse("from . import x"))
