"""Collection from servers that behave and from servers that do not."""

import gzip
import json
import logging
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from swirl_lightning.environments.collection import check_episodes
from swirl_lightning.environments.splits import SPLITS
from swirl_lightning.environments.tool import ToolDataModule, episode
from swirl_lightning.environments.tool import server as server_module
from swirl_lightning.environments.tool.collect import collect_tool
from swirl_lightning.environments.tool.secrets import Secrets
from swirl_lightning.environments.tool.server import Server
from swirl_lightning.types import InputError

pytest.importorskip("mcp.client", reason="the extra tool is not installed")

FAKE = f"{sys.executable} {Path(__file__).parent / 'fake_server.py'}"
EQUAL = (0.25, 0.25, 0.25, 0.25)
PUT, GET = ("put", {"name": "a", "value": 2}), ("get", {"name": "a"})


@pytest.fixture
def log(tmp_path):
    return tmp_path / "calls.log"


@pytest.fixture
def collect(tmp_path, log):
    """Makes a collection from the fake server with scripted calls; the transitions by episode, and the record."""

    def make(*calls, server=f"{FAKE} {{log}}", out="out", **options):
        if calls:
            script = tmp_path / "calls.jsonl"
            script.write_text("".join(json.dumps({"tool": t, "arguments": a}) + "\n" for t, a in calls))
            options["calls"] = script
        server = server.replace("{log}", str(log))
        collect_tool(tmp_path / out, server, **({"fractions": EQUAL, "docs": "short"} | options))
        data = ToolDataModule(tmp_path / out)
        data.setup()
        transitions = [t for split in SPLITS for t in getattr(data, split)]
        check_episodes(tmp_path, transitions)
        episodes = {}
        for t in transitions:
            episodes.setdefault(t.episode, []).append(t)
        return dict(sorted(episodes.items())), json.loads((tmp_path / out / "collection.json").read_text())

    return make


def results(transitions):
    """What each step adds to the state."""
    assert all(t.next_state.startswith(t.state + "\n") for t in transitions)
    return [t.next_state[len(t.state) + 1 :] for t in transitions]


def test_states_are_documentation_and_results(collect):
    episodes, record = collect(*[PUT, GET, ("get", {"name": "b"})] * 4, steps=3, tools=["put", "get"])
    assert list(episodes) == ["e0000", "e0001", "e0002", "e0003"]
    for steps in episodes.values():
        assert steps[0].state == "put(name: string, value: integer 1..3)\nget(name: string)"
        # the server is a new one in each episode, and the calls are not in the state
        assert results(steps) == ['{\n "notes": {"a": 2}\n}', "2", "error: no such note"]
        assert steps[0].action in (None, 'put {"name": "a", "value": 2}')
    assert {steps[0].environment for steps in episodes.values()} == {"tool"}
    assert record["server"] == {"name": "notes", "version": "1.0"}
    assert (record["tools"], record["lost"]) == (["put", "get"], [])
    assert record["versions"]["mcp"].split(".")[0] >= "2"


def test_hang_crash_and_rubbish_cost_one_row_each(collect, log, caplog):
    bad = ["hang", "crash", "rubbish", "wrong"]
    with caplog.at_level(logging.WARNING):
        episodes, record = collect(*[call for name in bad for call in (PUT, (name, {}), GET)], steps=3, timeout=3)
    # the process that comes after has no note: what follows is an episode of its own
    assert [(name, results(steps)) for name, steps in episodes.items()] == [
        (f"e000{n}{part}", [said])
        for n in range(4)
        for part, said in (("", '{\n "notes": {"a": 2}\n}'), (".1", "error: no such note"))
    ]
    assert len(record["lost"]) == 4
    reasons = (
        "no answer within 3 s",
        "MCPError: Connection closed",
        "no answer within 3 s",
        "answered what is no result",
    )
    for name, reason, line in zip(bad, reasons, record["lost"], strict=True):
        assert f"{name} {{}}: {reason}" in line
        assert any(line in message for message in caplog.messages)
    assert log.read_text().split() == [name for each in bad for name in ("put", each, "get")]


def test_a_server_that_never_answers_ends_the_run(collect, monkeypatch):
    monkeypatch.setattr(episode, "GIVE_UP", 2)
    with pytest.raises(InputError, match=r"no answer 2 times in a row, the last time: e0001: rubbish \{\}.*--timeout"):
        collect(*[("rubbish", {})] * 4, steps=1, timeout=0.3)


def test_what_a_server_does_not_call_harmless_is_not_called(collect, log, caplog):
    with caplog.at_level(logging.INFO):
        collect(episodes=4, steps=12, tools=["put", "wipe", "surf", "unknown"])
    assert set(log.read_text().split()) == {"put"}
    [message] = [message for message in caplog.messages if "not called" in message]
    assert "wipe (destructive), surf (open-world), unknown (destructive and open-world)" in message
    assert """--allow '["wipe", "surf", "unknown"]'""" in message
    log.unlink()
    episodes, _ = collect(episodes=4, steps=12, tools=["put", "wipe", "surf"], allow=["wipe"], out="allowed")
    assert set(log.read_text().split()) == {"put", "wipe"}
    assert "wipe(name: string)" in episodes["e0000"][0].state
    assert "surf" not in episodes["e0000"][0].state
    with pytest.raises(InputError, match=r"no tool that may be called among 11; .*surf \(open-world\).*--allow"):
        collect(episodes=4, tools=["surf"])
    with pytest.raises(InputError, match=r"--calls: found calls of 'wipe', which may not be called; .*--allow"):
        collect(*[PUT, PUT, PUT, ("wipe", {})], steps=1)
    with pytest.raises(InputError, match="--allow: found the tool 'wash', expected one of put, get, "):
        collect(episodes=4, allow=["wash"])


def test_a_dry_run_lists_and_calls_nothing(tmp_path, log, capsys):
    collect_tool(tmp_path / "out", f"{FAKE} {log}", episodes=4, steps=2, tools=["put", "get", "wipe"], dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["tools:", "put(name: string, value: integer 1..3)", "get(name: string)"]
    assert "wipe (destructive)" in lines[3]
    assert [line.split()[0] for line in lines[5:]] == [f"e000{n}" for n in range(4) for _ in range(2)]
    assert not log.exists()
    assert not (tmp_path / "out").exists()


def test_equal_arguments_give_equal_bytes(collect, tmp_path):
    options = {"episodes": 4, "steps": 6, "tools": ["put", "get"]}
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        collect(out=name, seed=seed, **options)
    first, again, other = (
        [(tmp_path / n / f"{s}.jsonl.gz").read_bytes() for s in SPLITS] for n in ("one", "two", "other")
    )
    assert first == again != other


def test_later_calls_speak_of_earlier_results(collect):
    episodes, _ = collect(episodes=8, steps=12, tools=["put", "get"], fractions=(0.7, 0.1, 0.1, 0.1))
    blocks = [block for steps in episodes.values() for block in results(steps)]
    found = [block for block in blocks if block in "123"]
    assert len(found) > blocks.count("error: no such note")


def test_no_place_of_this_machine_is_in_the_data(collect, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    (files / "seen.txt").write_text("there")
    server = f"NOTE_KEY=abc {FAKE} {{folder}}/calls.log"
    episodes, record = collect(*[("where", {})] * 4, steps=1, server=server, files=files)
    assert [results(steps) for steps in episodes.values()] == [["{folder}\n~/x\nabc"]] * 4
    assert record["arguments"]["server"] == f"NOTE_KEY=... {FAKE} {{folder}}/calls.log"
    assert str(tmp_path) not in json.dumps(record["arguments"] | {"server": ""})


def test_a_state_never_gets_too_long(collect):
    episodes, _ = collect(*[PUT] * 40, steps=10, tools=["put"], max_chars=100)
    assert all(max(len(t.next_state) for t in steps) <= 100 and 1 < len(steps) < 10 for steps in episodes.values())


def test_other_content_is_named(collect):
    episodes, _ = collect(*[("picture", {}), ("surf", {})] * 4, steps=2, allow=["surf"])
    assert results(episodes["e0000"]) == ["[image/png, 4 characters of base64]", '{\n "done": "surf"\n}']


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (f"{FAKE} log dies", "does not start: .*its last words: no licence | for notes; run the command by hand"),
        (f"{FAKE} log mute", "does not start: TimeoutError"),
        (f"{FAKE} log bare", "found no tool that may be called among 0"),
        ("no-such-command-anywhere --x", "does not start: FileNotFoundError.*run the command by hand"),
        ("http://127.0.0.1:9/mcp", "does not start: .*check the URL, --headers where"),
        ("A=b", "found 'A=b', expected a command line"),
        ("'python", 'found "\'python", expected a command line .No closing quotation'),
    ],
)
def test_a_server_that_does_not_start(collect, monkeypatch, server, message):
    monkeypatch.setattr(server_module, "START_SECONDS", 6.0)
    with pytest.raises(InputError, match=message):
        collect(episodes=4, server=server)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", ":1: found no valid JSON"),
        ("\n", "found no calls"),
        ('{"tool": "put"}\n[]', r":2: found \[\], expected an object with tool and arguments"),
        ('{"tool": "put", "arguments": 3}', ":1: arguments: found int, expected an object"),
        ("", "found no calls"),
        (None, "no such file"),
        ('{"tool": "nope"}\n' * 99, "--calls: found the tool 'nope', expected one of put, get"),
    ],
)
def test_calls_in_a_file_are_checked(tmp_path, log, content, message):
    path = tmp_path / "calls.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        collect_tool(tmp_path / "out", f"{FAKE} {log}", calls=path)


def test_arguments_are_checked(collect, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="steps: found 0, expected more than 0"):
        collect(steps=0)
    with pytest.raises(InputError, match=r"--files: found .*expected a folder that is there, and \{folder\}"):
        collect(files=tmp_path)
    monkeypatch.setitem(sys.modules, "mcp.client", None)
    with pytest.raises(InputError, match=r"pip install 'swirl-lightning\[tool\]'"):
        collect()


def test_passwords_are_not_recorded():
    address = "API_TOKEN='a b' MODE=x run-tokens --api-key abc --password=d --mode v"
    assert Server(address, 1).public_address == "API_TOKEN=... MODE=x run-tokens --api-key ... --password=... --mode v"
    assert Server("https://me:pw@example.org/mcp?key=1", 1).public_address == "https://example.org/mcp"


def test_a_malformed_tool_is_left_out_and_the_others_called(collect, log, caplog, in_a_minute):
    with caplog.at_level(logging.WARNING):
        episodes, record = collect(
            server=f"{FAKE} {{log}} odd", tools=["odd", "put", "get"], episodes=4, steps=2, fractions=EQUAL
        )
    assert record["tools"] == ["put", "get"]
    assert sum(map(len, episodes.values())) == 8
    assert "tools left out: odd: its schema cannot be read (TypeError" in caplog.text
    assert "odd" not in log.read_text()
    with pytest.raises(InputError, match="no tool whose schema can be worked with among 1; tools left out: odd"):
        collect(server=f"{FAKE} {{log}} odd", tools=["odd"])
    with pytest.raises(InputError, match="found calls of 'odd', which cannot be documented"):
        collect(*[("odd", {})] * 4, steps=1, server=f"{FAKE} {{log}} odd")


def test_an_error_of_our_own_within_an_episode_ends_it(collect, monkeypatch, in_a_minute):
    monkeypatch.setattr(episode.CallSource, "remember", lambda *args: 1 / 0)
    with pytest.raises(InputError, match="no answer|collected no transition|lost"):
        collect(tools=["put"], episodes=4, steps=3)


def test_answers_that_are_all_errors_are_no_collection(collect, tmp_path, caplog):
    with pytest.raises(
        InputError, match=r"all 8 answers were errors, .*nothing is written \(get 8 of 8\); give values"
    ):
        collect(*[("get", {"name": "none"})] * 8, steps=2)
    assert not (tmp_path / "out").exists()
    with caplog.at_level(logging.WARNING):
        collect(*[PUT, ("get", {"name": "none"}), ("get", {"name": "none"})] * 4, steps=3)
    assert "8 of 12 answers were errors (put 0 of 4, get 8 of 8); give values" in caplog.text
    caplog.clear()
    collect(*[PUT, ("get", {"name": "none"})] * 4, steps=2, out="more")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


SECRETS = {
    "settings": ("API_TOKEN='a \"long\" one' TZ=Europe/Oslo KEY_FILE={folder}/a serve", {'a "long" one'}),
    "options": ("serve --api-key abcde --password=fghi -token 'j k l' --mode plain", {"abcde", "fghi", "j k l"}),
    "a shell": ("sh -c 'GITHUB_PASS=abcde serve'", {"abcde", "abcde serve"}),
    "docker": ("docker run -e API_KEY=abcde --env=B_SECRET=fghi mcp/auth:latest", {"abcde", "fghi"}),
    "a header": ("npx mcp-remote https://a.org --header 'Authorization: Bearer abcde'", {"abcde"}),
    "an address": ("serve --db postgres://me:abcde@h/x", {"me:abcde", "abcde"}),
    "no secrets": ("MAX_TOKENS=1000 BYPASS=true AUTHOR=Ada-Ada TOKEN={folder}/x serve", set()),
    "a URL": ("https://me:pass@a.org/mcp?api_key=abcde&profile=plain", {"me:pass", "pass", "abcde"}),
}


@pytest.mark.parametrize(("address", "values"), SECRETS.values(), ids=SECRETS)
def test_what_is_secret(address, values):
    secrets = Secrets(address, {})
    assert secrets.values == values
    assert not any(value in secrets.public_address for value in values)
    for value in values:
        assert secrets.hide(f"a {value} b") == "a ... b"
        assert json.loads(secrets.hide(json.dumps({"x": value}))) == {"x": "..."}
    assert secrets.hide(f"see {address}") == f"see {secrets.public_address}"


def test_secrets_come_back_nowhere(collect, tmp_path, log, caplog, capsys):
    """Neither when the server tells them, nor when a call or a value holds them, nor in what is lost or refused."""
    secret = "open sesame 'now'"
    server = f"NOTE_KEY={shlex.quote(secret)} {FAKE} {{log}}"
    calls = [("where", {}), ("put", {"name": secret, "value": 2}), ("crash", {"why": secret}), GET] * 4
    with caplog.at_level(logging.INFO):
        episodes, record = collect(*calls, steps=4, server=server, values={"name": [secret]})
        collect_tool(tmp_path, server.replace("{log}", str(log)), values={"name": [secret]}, dry_run=True)
        with pytest.raises(InputError) as caught:
            collect(*calls, server=server + " dies " + shlex.quote(f"--key={secret}"))
    assert results(episodes["e0000"])[0].endswith("\n...")
    assert any(step.action == 'put {"name": "...", "value": 2}' for steps in episodes.values() for step in steps)
    assert "NOTE_KEY=... " in record["command"]
    assert len(record["lost"]) == 4
    texts = [json.dumps(record), caplog.text, str(caught.value), capsys.readouterr().out]
    texts += [gzip.decompress(path.read_bytes()).decode() for path in (tmp_path / "out").glob("*.gz")]
    assert len(texts) == 8
    assert not [text for text in texts if "sesame" in text]


HTTP_SERVER = """
import sys
import uvicorn
from mcp.server import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("adder")

@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
def add(a: int, b: int) -> str:
    "Adds."
    return str(a + b)

async def app(scope, receive, send):
    if scope["type"] == "http" and (b"authorization", b"Bearer open-sesame") not in scope["headers"]:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    await inner(scope, receive, send)

inner = server.streamable_http_app()
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("server", "headers", "message"),
    [
        (
            "http://127.0.0.1:9/mcp",
            {"Authorization": "Bearer $NO_SUCH"},
            "--headers: Authorization: found no env",
        ),
        ("python", {"A": "b"}, "--headers: found A for a command line, expected a URL"),
    ],
)
def test_headers_that_cannot_be_sent(server, headers, message):
    with pytest.raises(InputError, match=message):
        Server(server, 1, headers)


def test_over_http(collect, monkeypatch):
    monkeypatch.setenv("ADDER_TOKEN", "open-sesame")
    headers = {"Authorization": "Bearer $ADDER_TOKEN"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", HTTP_SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        url, calls = f"http://127.0.0.1:{port}/mcp", [("add", {"a": 2, "b": 3})] * 4
        episodes, record = collect(*calls, steps=1, server=url, headers=headers)
        with pytest.raises(InputError, match="the server does not start"):
            collect(*calls, steps=1, server=url)
    finally:
        process.kill()
        process.wait()
    assert "open-sesame" not in json.dumps(record)
    assert [results(steps) for steps in episodes.values()] == [["5"]] * 4
    assert episodes["e0000"][0].state == "add(a: integer, b: integer)"
    assert record["server"]["name"] == "adder"
