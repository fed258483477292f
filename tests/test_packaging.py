"""What is installed: the packages, their files, their versions, and no need of an extra."""

import importlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import swirl_lightning
import swirl_lightning.callbacks

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LEFT_OUT = {".git", ".venv", "build", "dist", "runs", "shared", "__pycache__", "swirl_lightning.egg-info"}


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def packages_on_disk():
    for init in ROOT.glob("swirl_lightning/**/__init__.py"):
        yield ".".join(init.parent.relative_to(ROOT).parts)


def test_packages_are_those_on_disk():
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    assert set(listed) == {*packages_on_disk(), "swirl_lightning.callbacks"}


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in ROOT.glob("swirl_lightning/**/*.py")} | {ROOT / "callbacks"}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_callbacks_are_the_top_level_folder():
    assert Path(swirl_lightning.callbacks.__file__).resolve() == ROOT / "callbacks/__init__.py"


def test_callbacks_under_their_bare_name_are_refused(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(ImportError, match=r"import swirl_lightning\.callbacks"):
        importlib.import_module("callbacks")


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CHANGELOG.md", r"^## \[(\d+\.\d+\.\d+)\]"), ("CITATION.cff", r"^version: *\"?([\w.]+)")],
)
def test_versions_agree(file, pattern):
    found = re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)
    assert found
    assert found[1] == swirl_lightning.__version__


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """File lists of an sdist, and of the wheel that is built from nothing but that sdist."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    # a copy, for a build writes beside what it builds
    source.mkdir()
    for path in ROOT.iterdir():
        if path.name not in LEFT_OUT:
            run("cp", "-a", str(path), str(source), cwd=folder)
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    run(sys.executable, "-c", build, "build_sdist", str(folder), cwd=source)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
        names = archive.getnames()
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", build, "build_wheel", str(folder), cwd=unpacked)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
        return names, archive.namelist(), folder / "installed"


def test_wheel_holds_the_code_once(archives):
    _, names, _ = archives
    assert len(names) == len(set(names))
    expected = {str(path.relative_to(ROOT)) for path in ROOT.glob("swirl_lightning/**/*.py")}
    expected |= {f"swirl_lightning/{path.relative_to(ROOT)}" for path in ROOT.glob("callbacks/*.py")}
    assert {name for name in names if name.endswith(".py")} == expected


def test_wheel_holds_the_data_and_the_type_marker(archives):
    _, names, _ = archives
    data = {
        f"swirl_lightning/environments/textworld/quickstart/{path.name}"
        for path in ROOT.glob("swirl_lightning/**/*.gz")
    }
    assert len(data) == 4
    rubrics = {str(path.relative_to(ROOT)) for path in ROOT.glob("swirl_lightning/metrics/judge/rubrics/*.yaml")}
    assert len(rubrics) == 4
    data |= rubrics
    assert data | {"swirl_lightning/py.typed"} <= set(names)


def test_wheel_holds_nothing_else(archives):
    _, names, _ = archives
    assert {name.split("/")[0].split("-")[0] for name in names} == {"swirl_lightning"}


def test_every_module_of_the_wheel_imports_without_the_extras(archives, tmp_path):
    """Away from the source tree. The extras, and readers of single model formats, cannot be imported."""
    _, names, installed = archives
    files = [name for name in names if name.endswith(".py") and "__main__" not in name]
    modules = [file.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for file in files]
    code = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(installed)!r})\n"
        "for name in ('textworld', 'gguf', 'trl', 'pytest', 'hypothesis'): sys.modules[name] = None\n"
        f"for name in {modules!r}: print(importlib.import_module(name).__file__)"
    )
    assert run(sys.executable, "-I", "-c", code, cwd=tmp_path).split() == [str(installed / file) for file in files]


def test_the_command_is_main():
    module, function = PROJECT["project"]["scripts"]["swirl"].split(":")
    assert callable(getattr(importlib.import_module(module), function))
