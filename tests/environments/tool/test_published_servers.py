"""Servers that others wrote. PyPI's come with the extra ``test``; npm's are used where they are installed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from swirl_lightning.environments.tool import ToolDataModule
from swirl_lightning.environments.tool.collect import collect_tool

pytest.importorskip("mcp.client", reason="the extra tool is not installed")
PLACES = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
INSTALL = {
    "mcp-server-time": "pip install mcp-server-time",
    "mcp-server-git": "pip install mcp-server-git",
    "mcp-server-memory": "npm install -g @modelcontextprotocol/server-memory",
    "mcp-server-filesystem": "npm install -g @modelcontextprotocol/server-filesystem",
}


@pytest.fixture
def results(tmp_path):
    """Makes the same calls of a server in four episodes and gives the results of one; skips where it is missing."""

    def make(command, *calls, address="{}", **options):
        if (path := shutil.which(command, path=PLACES)) is None:
            pytest.skip(f"no {command} on the path: {INSTALL[command]}")
        script = tmp_path / "calls.jsonl"
        rows = [json.dumps({"tool": tool, "arguments": arguments}) + "\n" for tool, arguments in calls]
        script.write_text("".join(rows * 4))
        server = address.replace("{}", path)
        collect_tool(tmp_path / "out", server, steps=len(calls), calls=script, fractions=(0.25,) * 4, **options)
        data = ToolDataModule(tmp_path / "out")
        data.setup()
        assert all(len(its) == len(calls) for its in (data.labelled, data.state_only, data.validation, data.test))
        assert [t.next_state for t in data.test] == [t.next_state for t in data.labelled]  # each began afresh
        return [t.next_state[len(t.state) + 1 :] for t in data.labelled]

    return make


def test_time(results):
    arguments = {"source_timezone": "Asia/Tokyo", "time": "12:00", "target_timezone": "Etc/UTC"}
    [said] = results("mcp-server-time", ("convert_time", arguments))
    assert json.loads(said)["time_difference"] == "-9.0h"
    assert "T03:00:00+00:00" in json.loads(said)["target"]["datetime"]


def test_git(results, tmp_path):
    repo = tmp_path / "files" / "repo"
    repo.mkdir(parents=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q", "-b", "main"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=repo, check=True)
    (repo / "new.txt").write_text("new\n")
    where = {"repo_path": "{folder}/repo"}
    before, added, after, reset = results(
        "mcp-server-git",
        ("git_status", where), ("git_add", where | {"files": ["new.txt"]}), ("git_status", where), ("git_reset", where),
        address="{} --repository {folder}/repo", files=tmp_path / "files", allow=["git_reset"],
    )  # fmt: skip
    assert "Untracked files:" in before
    assert "staged" in added
    assert "Changes to be committed:" in after
    assert "reset" in reset


def test_memory(results):
    ada = {"name": "Ada", "entityType": "person", "observations": ["likes tea"]}
    created, again, found, missing = results(
        "mcp-server-memory",
        ("create_entities", {"entities": [ada]}), ("create_entities", {"entities": [ada]}),
        ("search_nodes", {"query": "tea"}), ("open_nodes", {"names": ["Bo"]}),
        address="MEMORY_FILE_PATH={folder}/memory.jsonl {}",
    )  # fmt: skip
    assert json.loads(created) == [ada]
    assert json.loads(again) == []
    assert json.loads(found) == {"entities": [ada], "relations": []}
    assert json.loads(missing) == {"entities": [], "relations": []}


def test_filesystem(results):
    path = {"path": "{folder}/a.txt"}
    written, read, listed, gone = results(
        "mcp-server-filesystem",
        ("write_file", path | {"content": "blue"}), ("read_text_file", path), ("list_directory", {"path": "{folder}"}),
        ("read_text_file", {"path": "{folder}/b.txt"}),
        address="{} {folder}", allow=["write_file"],
    )  # fmt: skip
    assert written == "Successfully wrote to {folder}/a.txt"
    assert read == "blue"
    assert listed == "[FILE] a.txt"
    assert gone == "error: ENOENT: no such file or directory, open '{folder}/b.txt'"
