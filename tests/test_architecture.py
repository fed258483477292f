"""The shape of the code: layers, who may import what, and small files."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    "types", "algorithms", "codecs", "engine", "plan", "models", "metrics", "environments", "rewards", "modules",
    "loops", "report", "callbacks", "trainer", "inference", "cli", "__main__",
)  # fmt: skip
PACKAGE = sorted((ROOT / "swirl_lightning").glob("**/*.py")) + sorted((ROOT / "callbacks").glob("**/*.py"))
FILES = {str(path.relative_to(ROOT)): path for path in PACKAGE}
LONGEST, LONGEST_TEST = 400, 400
MODEL_LIBRARIES = {"transformers", "peft", "bitsandbytes", "tokenizers", "gguf"}

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
    with pytest.raises(AssertionError, match="relative"):
        imports(ast.parse("from . import x"))
