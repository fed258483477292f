"""The log of a shell in a small file system, as a new user may have it: ``python tests/file_shell.py my_log.jsonl``.

A state is the listing of all files and folders, an action the command between two listings. Few rows have theirs.
"""

import json
import random
import sys
from pathlib import Path

FOLDERS = ("docs", "img", "src")
FILES = ("a.txt", "b.txt", "main.py", "notes.md")


def parent(path):
    return path[: path.rstrip("/").rfind("/") + 1]


def commands(listing):
    """All commands that may come next; that of ``ls`` changes nothing."""
    paths = sorted(listing)  # a set has another order in every process
    folders = [path for path in paths if path.endswith("/")]
    files = [path for path in paths if not path.endswith("/")]
    free = [place + name for place in ["", *folders] for name in FILES if place + name not in listing]
    new = [place + name + "/" for place in ["", *folders] if place.count("/") < 2 for name in FOLDERS]
    kinds = {
        "mkdir": [f"mkdir {path[:-1]}" for path in new if path not in listing],
        "touch": [f"touch {path}" for path in free],
        "rm": [f"rm {path}" for path in files],
        "mv": [f"mv {old} {path}" for old in files for path in free],
        "rmdir": [f"rmdir {path[:-1]}" for path in folders if not any(parent(other) == path for other in listing)],
        "ls": ["ls"],
    }
    return {kind: its for kind, its in kinds.items() if its}


def run(listing, command):
    """The listing after a command."""
    kind, *paths = command.split()
    if kind in ("rm", "mv"):
        listing = listing - {paths[0]}
    if kind in ("touch", "mv"):
        listing = listing | {paths[-1]}
    if kind == "mkdir":
        listing = listing | {paths[0] + "/"}
    if kind == "rmdir":
        listing = listing - {paths[0] + "/"}
    return listing


def rows(count=600, labels=60, length=20, seed=0):
    """The log: ``count`` rows in episodes of ``length``, of which ``labels`` have their action, in any episode."""
    rng = random.Random(seed)
    log = []
    for n in range(count):
        if n % length == 0:
            listing = frozenset(["docs/", "docs/a.txt", "src/", "src/main.py"])
        its = commands(listing)
        if len(listing) > 8:
            its = {kind: its[kind] for kind in ("rm", "mv", "rmdir", "ls") if kind in its}
        command = rng.choice(its[rng.choices(list(its), [1 if kind == "ls" else 4 for kind in its])[0]])
        after = run(listing, command)
        log.append(
            {
                "episode": f"session-{n // length}", "step": n % length, "state": "\n".join(sorted(listing)),
                "next_state": "\n".join(sorted(after)), "action": command,
            }
        )  # fmt: skip
        listing = after
    for n in set(range(count)) - set(rng.sample(range(count), labels)):
        del log[n]["action"]
    return log


def timed(log):
    """The rows with a field that is none of a transition's."""
    return [row | {"timestamp": 1_700_000_000 + n} for n, row in enumerate(log)]


def write(path, log):
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row) + "\n" for row in log), encoding="utf-8")
    return path


if __name__ == "__main__":
    write(Path(sys.argv[1]), timed(rows()))
