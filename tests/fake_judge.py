"""A judge on 127.0.0.1 that answers by a script and remembers what it was sent."""

import json
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text):
    """What an endpoint answers whose model says this text."""
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


SILENT = 0, {}, ""
"""No answer, until the one who asks has gone."""


class FakeJudge:
    """Gives the answers of ``script`` in turn, then the last one again; a function is asked for one with the body."""

    def __init__(self, *script):
        self.script, self.paths, self.headers, self.bodies, self.times = list(script), [], [], [], []
        self.url = ""
        self.over = threading.Event()

    def answer(self, path, headers, body):
        self.paths.append(path)
        self.headers.append(dict(headers))
        self.bodies.append(body)
        self.times.append(time.monotonic())
        given = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        return given(body) if callable(given) else given


@contextmanager
def serving(judge):
    """The judge at its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code, headers, text = judge.answer(self.path, self.headers, body)
            if code == 0:
                judge.over.wait(30)
                return
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield judge
    finally:
        judge.over.set()
        server.shutdown()
        server.server_close()


def tiny_png(grey):
    """A PNG of one pixel."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes([0, grey]))) + chunk(b"IEND", b"")
