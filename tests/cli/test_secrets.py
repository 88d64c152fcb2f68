"""Secrets go to their host and nowhere else: no output, log, plan, record, journal, cache or error repeats one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.cli.line import Line

TOKEN = "hf_sesameOpenNobodyMayReadThis"
KEY = "sk-sesame-4711-nobody-may-read-this"
FILE = """\
localModels:
  name: tiny
  pool: {{diskBudget: 1GB, minFreeDisk: 1MB, allowedOrgs: [acme]}}
  slots:
    - {{name: chat, model: acme/tiny-GGUF, quant: Q8_0, target: files}}
  targets:
    - {{name: files, runtime: store, path: ./models}}
    - {{name: router, runtime: llama-server, endpoint: "{router}", apiKeyFrom: {key}}}
  hardware: {{override: {{platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}}}
  hub: {{endpoint: "{hub}", tokenFrom: {token}}}
"""
COMMANDS = (
    ("validate",),
    ("plan",),
    ("plan", "--json", "--out", "plan.json"),
    ("observe", "--out", "seen.json"),
    ("observe", "--json"),
    ("status",),
    ("status", "--json"),
    ("explain", "acme/tiny-GGUF"),
    ("apply", "--yes"),
    ("apply", "--yes", "--json"),
    ("which", "chat"),
    ("destroy", "--yes", "--json"),
)


class Echo(BaseHTTPRequestHandler):
    """Says what it was sent, as a clumsy proxy or a malicious server would."""

    heard: ClassVar[list[str]] = []
    status = 401

    def _answer(self) -> None:
        said = f"you sent {self.headers.get('Authorization')}"
        self.heard.append(said)
        body = f'{{"error": {{"message": "{said}"}}, "errors": [{{"message": "{said}"}}]}}'.encode()
        self.send_response(self.status)
        self.send_header("X-Error-Message", said)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = _answer

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def echoing(status: int) -> Iterator[tuple[str, list[str]]]:
    kind = type("Said", (Echo,), {"status": status, "heard": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", kind.heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(line: Line) -> str:
    """Everything that the commands said."""
    answers = [line(*command) for command in COMMANDS]
    assert not any("Traceback" in one.err for one in answers)
    return "".join(one.out + one.err for one in answers)


def leaks(folder: Path, secret: str) -> list[Path]:
    """Every file that holds it, beside the one it was read from."""
    found = [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    return [path for path in found if path.name != "secret"]


@pytest.mark.parametrize("status", [200, 401, 500])
def test_servers_that_repeat_what_they_were_sent_are_not_repeated(
    line: Line, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line.folder / "secret").write_text(f"{KEY}\n")
    monkeypatch.setenv("SOME_TOKEN", TOKEN)
    monkeypatch.chdir(line.folder)
    with echoing(status) as (hub, heard_by_hub), echoing(status) as (router, heard_by_router):
        line.write(FILE.format(hub=hub, router=router, token="{env: SOME_TOKEN}", key="{file: secret}"))
        said = told(line)
    assert any(TOKEN in one for one in heard_by_hub), "the token went where it belongs"
    assert any(KEY in one for one in heard_by_router)
    assert not any(KEY in one for one in heard_by_hub)
    assert not any(TOKEN in one for one in heard_by_router)
    assert TOKEN not in said
    assert KEY not in said
    assert (leaks(line.folder.parent, TOKEN), leaks(line.folder.parent, KEY)) == ([], [])
