"""A Model Context Protocol server over stdio that keeps notes and can misbehave. It is run as a script, not imported.

Usage: fake_server.py LOG [MODE]. Every call is appended to LOG; MODE ``dies`` and ``mute`` never get that far.
"""

import json
import os
import sys
import time
from pathlib import Path

LOG = Path(sys.argv[1])
MODE = sys.argv[2] if len(sys.argv) > 2 else ""
SAFE = {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}
READS = {"readOnlyHint": True, "openWorldHint": False}
TEXT = {"type": "string"}


def tool(name, annotations, /, **properties):
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"name": name, "description": f"Does {name}.", "inputSchema": schema, "annotations": annotations}


TOOLS = [
    tool("put", SAFE, name=TEXT, value={"type": "integer", "minimum": 1, "maximum": 3}),
    tool("get", READS, name=TEXT),
    tool("where", READS),
    tool("hang", READS),
    tool("crash", READS),
    tool("rubbish", READS),
    tool("wrong", READS),
    tool("picture", READS),
    tool("wipe", {**SAFE, "destructiveHint": True}, name=TEXT),
    tool("surf", {"readOnlyHint": True, "openWorldHint": True}),
    tool("unknown", None),
]
ODD = tool("odd", READS, name={"type": "object", "properties": {"x": TEXT}, "required": 7})
PAINTED = tool("\x1b]0;owned\x07\x1b[31mred\x9b2J\r\u202egnp", READS, name=TEXT)
notes = {}


def result(name, arguments):
    if name == "put":
        notes[arguments["name"]] = arguments["value"]
        return {"content": [{"type": "text", "text": json.dumps({"notes": notes})}]}
    if name == "get":
        if arguments["name"] in notes:
            return {"content": [{"type": "text", "text": str(notes[arguments["name"]])}]}
        return {"content": [{"type": "text", "text": "no such note"}], "isError": True}
    if name == "where":
        return {"content": [{"type": "text", "text": f"{LOG.parent}\n{Path.home()}/x\n{os.environ.get('NOTE_KEY')}"}]}
    if name == "hang":
        time.sleep(60)
    if name == "crash":
        sys.exit("out of notes")
    if name == "rubbish":
        print("%% no protocol at all", flush=True)
        return None
    if name == "wrong":
        return {"content": 7}
    if name == "picture":
        return {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]}
    return {"content": [], "structuredContent": {"done": name}}


def answer(message):
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "notes", "version": "1.0"},
        }
    if method == "tools/list":
        return {"tools": {"bare": [], "odd": [*TOOLS, ODD], "painted": [*TOOLS, PAINTED]}.get(MODE, TOOLS)}
    if method == "tools/call":
        with LOG.open("a") as log:
            log.write(params["name"] + "\n")
        return result(params["name"], params.get("arguments", {}))
    return {}


if MODE == "dies":
    sys.exit("no licence\nfor notes")
if MODE == "mute":
    time.sleep(60)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "server/discover":
        reply["error"] = {"code": -32601, "message": "Method not found"}
    elif (answered := answer(message)) is None:
        continue
    else:
        reply["result"] = answered
    print(json.dumps(reply), flush=True)
