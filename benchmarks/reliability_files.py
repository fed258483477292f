"""Files that are damaged, or made to do harm."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from reliability_places import rollout_files
from reliability_runs import Bench, Case, Started

DEEP = 100_000
BOMB = "a: &a [1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{other}'] * 9)}]\n" for other, name in pairwise("abcdefghi")
)


class Payload:
    """What a pickle can do: here it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


# ---- ways to spoil any file


def spoilt(bench: Bench, content: bytes) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Ways to write a file that should have had this content, in the place of it."""
    cut = bench.rng.randrange(1, len(content))
    yield f"cut after {cut} bytes", lambda path: path.write_bytes(content[:cut])
    yield "empty", lambda path: path.write_bytes(b"")
    yield "a folder", lambda path: path.mkdir()
    for bits in (1, 8, 200):
        damaged = bytearray(content)
        for _ in range(bits):
            damaged[bench.rng.randrange(len(damaged))] ^= 1 << bench.rng.randrange(8)
        yield f"{bits} bits turned", lambda path, damaged=bytes(damaged): path.write_bytes(damaged)
    noise = bench.rng.randbytes(1000)
    yield "random bytes", lambda path: path.write_bytes(noise)
    yield "zeros", lambda path: path.write_bytes(bytes(len(content)))
    yield "UTF-16", lambda path: path.write_bytes(content.decode("latin-1").encode("utf-16"))
    yield "a link to itself", lambda path: path.symlink_to(path)


def row(**fields: Any) -> str:
    """A row of a log."""
    whole = {"episode": "e", "step": 0, "state": "door open", "next_state": "door shut", "action": "make door shut"}
    return json.dumps(whole | fields)


def lines(bench: Bench) -> Iterator[tuple[str, bytes]]:
    """Lines that a log may hold in place of one of its rows."""
    for key in ("episode", "step", "state", "next_state", "action"):
        for value in (None, [], {}, True, 1.5, "", "\x00\x1b[31m", "\ud800", "x" * 100_000, -1):
            yield f"{key}: {json.dumps(value)[:20]}", row(**{key: value}).encode()
    for number in ("NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, "0x10", "1_0", "-0"):
        yield f"step: {number[:20]}", row(step=7).replace("7", number).encode()
        yield f"state: {number[:20]}", row(state=7).replace("7", number).encode()
    yield "brackets", b"[" * DEEP
    yield "nested objects", b'{"episode":' * DEEP
    yield "a deep state", row(state=7).replace("7", "[" * DEEP + "]" * DEEP).encode()
    yield "a list", b"[1, 2]"
    yield "a number", b"7"
    yield "latin-1", row(state="\xe9").replace("\\u00e9", "\xe9").encode("latin-1")
    yield "half a row", row().encode()[:40]
    yield "two rows", (row() + row()).encode()
    yield "a key twice", b'{"episode": "a", "episode": "b"}'
    yield "a field missing", b'{"episode": "a", "step": 0, "state": "x"}'


# ---- what reads them


def files(bench: Bench) -> Iterator[Case]:
    """All of them."""
    parts = [logs(bench), configurations(bench), checkpoints(bench), runs(bench), bases(bench), others(bench)]
    for part in parts:
        cases = list(part)
        yield from bench.rng.sample(cases, 3) if bench.quick else cases


def logs(bench: Bench) -> Iterator[Case]:
    """JSONL, gzip and Parquet: to train on, and to label."""
    content = bench.log.read_bytes().splitlines(keepends=True)

    def label(path: Path, write: Callable[[Path], object]) -> str | None:
        path.parent.mkdir(parents=True)
        write(path)
        return (
            Started(["label", str(bench.run), str(path), f"--out={path.parent / 'out.jsonl'}"]).end().fault(path.name)
        )

    def train(name: str, write: Callable[[Path], object]) -> str | None:
        root = bench.new()
        shutil.copytree(bench.data, root / "data")
        path = root / "data" / name
        (root / "data" / "state_only.jsonl").unlink()
        write(path)
        outcome = Started(bench.fit(root, f"--data.path={root / 'data'}")).end()
        return outcome.fault(path.name, "data") or bench.finite(root)

    for name, line in bench.rng.sample(found := list(lines(bench)), 40 if not bench.quick else 3):
        text = b"".join([*content[:5], line + b"\n", *content[5:]])
        yield Case(f"label a log with {name}", partial(label, bench.new() / "log.jsonl", partial(overwrite, text)))
    for name, line in bench.rng.sample(found, 20 if not bench.quick else 3):
        text = b"".join([*content[:5], line + b"\n", *content[5:]])
        yield Case(f"train on a log with {name}", partial(train, "state_only.jsonl", partial(overwrite, text)))
    table = pyarrow.Table.from_pylist([json.loads(line) for line in content])
    pyarrow.parquet.write_table(table, bench.folder / "log.parquet")
    forms = {
        "jsonl": bench.log.read_bytes(),
        "jsonl.gz": gzip.compress(bench.log.read_bytes()),
        "parquet": (bench.folder / "log.parquet").read_bytes(),
    }
    for form, whole in forms.items():
        for name, write in spoilt(bench, whole):
            yield Case(f"label {form}: {name}", partial(label, bench.new() / f"log.{form}", write))
            if form == "parquet":
                yield Case(f"train on {form}: {name}", partial(train, f"state_only.{form}", write))


def overwrite(content: bytes, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


YAML: dict[str, bytes] = {
    "an alias bomb": BOMB.encode(),
    "an alias in itself": b"a: &a [*a]\n",
    "deep brackets": b"[" * DEEP,
    "deep mappings": b"{a: " * DEEP,
    "a tag that runs code": b"!!python/object/apply:os.system ['touch RAN']\n",
    "a tag in a value": b"seed_everything: !!python/object/apply:os.system ['touch RAN']\n",
    "a list": b"- 1\n- 2\n",
    "a word": b"word\n",
    "a number": b"1\n",
    "null": b"null\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "tabs": b"model:\n\tmax_tokens: 3\n",
    "latin-1": "model: {engine: \xe9}\n".encode("latin-1"),
    "a key twice": b"seed_everything: 0\nseed_everything: 1\n",
    "a huge number": b"seed_everything: " + b"9" * 5000 + b"\n",
    "a key that is a list": b"? [1, 2]\n: 3\n",
    "control characters": b"model: \x1b[31m\x07\n",
}


def configurations(bench: Bench) -> Iterator[Case]:
    """YAML for ``swirl fit``, ``plan`` and ``collect``."""

    def given(command: str, write: Callable[[Path], object]) -> str | None:
        root = bench.new()
        root.mkdir(parents=True)
        path = root / "given.yaml"
        write(path)
        options = {
            "fit": [f"--trainer.default_root_dir={root}"],
            "plan": [],
            "collect": [f"--out={root / 'out'}", "--games=8", "--steps=4"],
        }[command]
        args = [command, *(["textworld"] if command == "collect" else []), f"--config={path}", *options]
        fault = Started(args).end().fault("given.yaml", "--", "trainer.")
        return fault or ("the file's code was run" if Path("RAN").exists() else None)

    for name, content in YAML.items():
        for command in ("fit", "collect"):
            yield Case(f"{command} --config: {name}", partial(given, command, partial(overwrite, content)))
    for name, write in spoilt(bench, bench.config.read_bytes()):
        for command in ("fit", "plan"):
            yield Case(f"{command} --config: {name}", partial(given, command, write))


def checkpoints(bench: Bench) -> Iterator[Case]:
    """Of ``swirl fit``, ``swirl test`` and of a run that is used."""
    mark = bench.folder / "pickle-ran"

    def used(command: str, write: Callable[[Path], object]) -> str | None:
        root = bench.new()
        path = root / "given.ckpt"
        root.mkdir(parents=True)
        write(path)
        args = {
            "fit": bench.fit(root, f"--ckpt_path={path}"),
            "test": ["test", *bench.fit(root, f"--ckpt_path={path}")[1:]],
            "label": ["label", str(bench.run), str(bench.log), f"--out={root / 'out.jsonl'}", f"--checkpoint={path}"],
        }[command]
        fault = Started(args).end().fault("given.ckpt", "checkpoint does not fit")
        return fault or bench.finite(root) or ("the pickle was run" if mark.exists() else None)

    ways = dict(spoilt(bench, bench.checkpoint.read_bytes()))
    saved = torch.load(bench.checkpoint, weights_only=True)
    ways |= {
        "a pickle that runs": lambda path: path.write_bytes(pickle.dumps(Payload(mark))),
        "a checkpoint that runs": lambda path: torch.save(saved | {"swirl": Payload(mark)}, path),
        "a zip with a pickle that runs": partial(zipped, Payload(mark)),
        "another's checkpoint": lambda path: torch.save({"state_dict": {}}, path),
        "NaN for weights": lambda path: torch.save(saved | {"state_dict": not_numbers(saved["state_dict"])}, path),
        "no weights": lambda path: torch.save(saved | {"state_dict": {}}, path),
    }
    for key in saved:
        for name, value in (("nothing", None), ("a word", "word"), ("an empty list", [])):
            ways[f"{name} for {key}"] = lambda path, key=key, value=value: torch.save(saved | {key: value}, path)
        ways[f"no {key}"] = lambda path, key=key: torch.save({k: v for k, v in saved.items() if k != key}, path)
    for name, write in ways.items():
        for command in ("fit", "label", "test")[: 3 if len(name) % 2 else 2]:
            yield Case(f"{command}, checkpoint: {name}", partial(used, command, write))


def zipped(content: object, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
        archive.writestr("archive/version", "3\n")


def not_numbers(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: torch.full_like(value, float("nan")) for name, value in tensors.items()}


def runs(bench: Bench) -> Iterator[Case]:
    """Folders of runs: their configuration for what uses them, their files for the report."""
    state, actions = rollout_files(bench)

    def spoil(name: str, command: str, write: Callable[[Path], object]) -> str | None:
        run = bench.new()
        shutil.copytree(bench.run, run)
        (run / name).unlink()
        write(run / name)
        args = {
            "report": ["report", str(run)],
            "export": ["export", str(run), f"--out={run / 'out'}"],
            "rollout": ["rollout", str(run), f"--state={state}", f"--actions={actions}"],
        }[command]
        fault = Started(args).end().fault(name)
        return fault or ("the file's code was run" if Path("RAN").exists() else None)

    for name, command in (("config.yaml", "export"), ("config.yaml", "rollout"), ("results.json", "report"),
                          ("history.jsonl", "report"), ("samples.jsonl", "report")):  # fmt: skip
        content = (bench.run / name).read_bytes()
        more = YAML if name == "config.yaml" else JSON
        ways = chain(spoilt(bench, content), ((each, partial(overwrite, text)) for each, text in more.items()))
        for each, write in ways:
            yield Case(f"{command}, {name}: {each}", partial(spoil, name, command, write))


JSON: dict[str, bytes] = {
    "deep brackets": b"[" * DEEP,
    "NaN": b'{"stages": [{"stage": "warmup", "metrics": {"fwm/logp": NaN}}], "stage": "warmup", "update": NaN}\n',
    "huge numbers": b'{"stages": [{"stage": "a", "metrics": {"fwm/logp": 1e400}}], "stage": "a", "update": 1e400}\n',
    "digits": b'{"stages": [], "stage": "a", "update": ' + b"9" * 5000 + b"}\n",
    "a list": b"[]\n",
    "null": b"null\n",
    "a script": b'{"stages": [{"stage": "</script><script>alert(1)</script>", "metrics": {}}], "stage": "<b>"}\n',
}


def bases(bench: Bench) -> Iterator[Case]:
    """Folders of base models: configuration, weights, tokenizer; GGUF."""
    base = bench.base

    def train(name: str, write: Callable[[Path], object], command: str = "fit") -> str | None:
        root = bench.new()
        folder = root / "base"
        if name == "model.gguf":
            folder.mkdir(parents=True)
        else:
            shutil.copytree(base, folder)
            (folder / name).unlink()
        write(folder / name)
        args = [command, *bench.fit(root)[1:], "--model.base=swirl_lightning.models.PretrainedLM"]
        args += [f"--model.base.init_args.name={folder}", "--model.base.init_args.dtype=float32"]
        outcome = Started(args).end()
        return outcome.fault(str(folder), "model.base", name) or bench.finite(root)

    def unspoilt(path: Path) -> None:
        shutil.copy(base / path.name, path)

    yield Case("fit, an unspoilt base", partial(train, "config.json", unspoilt))
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        for each, write in spoilt(bench, (base / name).read_bytes()):
            yield Case(f"fit, {name}: {each}", partial(train, name, write))
            if name == "config.json":
                yield Case(f"plan, {name}: {each}", partial(train, name, write, "plan"))
        for each, text in JSON.items():
            yield Case(f"fit, {name}: {each}", partial(train, name, partial(overwrite, text)))
    known = json.loads((base / "config.json").read_text())
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
                "model_type", "eos_token_id"):  # fmt: skip
        for value in (-1, 0, 10**12, float("nan"), "word", None, []):
            text = json.dumps(known | {key: value}).encode()
            command = "plan" if bench.rng.random() < 0.5 else "fit"
            yield Case(f"{command}, {key}: {value}", partial(train, "config.json", partial(overwrite, text), command))
    header = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    for each, text in {
        "without tensors": header,
        "with 2^63 tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**63 - 1, 1),
        "with 2^40 keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40),
        "of version 99": b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
        "with a key of 2^40 bytes": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**40) + b"a" * 100,
    }.items():
        yield Case(f"fit, GGUF {each}", partial(train, "model.gguf", partial(overwrite, text)))
    for each, write in spoilt(bench, header + bench.rng.randbytes(200)):
        yield Case(f"fit, GGUF: {each}", partial(train, "model.gguf", write))


def others(bench: Bench) -> Iterator[Case]:
    """The texts that ``swirl rollout`` reads."""
    state, actions = rollout_files(bench)

    def roll(name: str, write: Callable[[Path], object]) -> str | None:
        root = bench.new()
        root.mkdir(parents=True)
        path = root / "given.txt"
        write(path)
        places = {"state": state, "actions": actions} | {name: path}
        args = ["rollout", str(bench.run), f"--state={places['state']}", f"--actions={places['actions']}"]
        return Started(args).end().fault("given.txt", "--state", "--actions", "max_tokens")

    texts = {"deep brackets": b"[" * DEEP, "a list of numbers": b"[1, 2]", "a long line": b"x" * 1_000_000,
             "zero bytes": b"\0" * 100, "latin-1": b"\xe9", "escapes": b"\x1b]0;title\x07"}  # fmt: skip
    for name in ("state", "actions"):
        for each, write in spoilt(bench, b"make door shut\n" * 3):
            yield Case(f"rollout --{name}: {each}", partial(roll, name, write))
        for each, text in texts.items():
            yield Case(f"rollout --{name}: {each}", partial(roll, name, partial(overwrite, text)))
