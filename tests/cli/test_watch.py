"""``watch`` and ``mirror`` as processes: what they print, and how a signal ends them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from reconciler.servers.mirror import serve
from tests.cli.gguf_files import make_gguf

FILE = """\
localModels:
  name: watched
  pool: {allowedOrgs: [Qwen]}
  slots: []
  targets: [{name: s, runtime: store, path: ./models}]
"""
PATIENCE_SECONDS = 30.0


class Running:
    """A program at work; its lines are read as they come."""

    def __init__(self, folder: Path, *words: str) -> None:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("LOCALMODELS_", "HF_"))
        }
        environment |= {f"LOCALMODELS_{kind}_DIR": str(folder.parent / kind) for kind in ("STATE", "CACHE", "DATA")}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", *words],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: Queue[str] = Queue()
        self._readers = [
            Thread(target=self._read, args=(stream,)) for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: object) -> None:
        for line in stream:  # type: ignore[attr-defined]
            self.lines.put(line.rstrip("\n"))

    def until(self, wanted: Callable[[str], bool]) -> list[str]:
        """Every line up to the one that is wanted."""
        seen = []
        while not seen or not wanted(seen[-1]):
            seen.append(self.lines.get(timeout=PATIENCE_SECONDS))
        return seen

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()  # type: ignore[union-attr]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "localmodels.yaml").write_text(FILE)
    running: list[Running] = []

    def started(*words: str) -> Running:
        running.append(Running(folder, *words))
        return running[-1]

    yield started
    for one in running:
        one.close()


def _is_summary(line: str) -> bool:
    return line.startswith(("Plan:", "In sync"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_watch_plans_at_every_save_and_ends_cleanly(
    start: Callable[..., Running], tmp_path: Path, number: int, code: int
) -> None:
    file = tmp_path / "here" / "localmodels.yaml"
    watching = start("watch", "--offline")
    assert "first look" in watching.until(_is_summary)[0]
    file.write_text(FILE.replace("slots: []", "slots: [{name: chat, profile: general}]"))
    assert any("the file changed" in line for line in watching.until(lambda line: line.startswith("Plan:")))
    file.write_text("localModels: {nonsense: 1}")
    told = watching.until(lambda line: "stays in force" in line)
    assert any("nonsense" in line for line in told)
    file.write_text(FILE)
    watching.until(_is_summary)
    assert watching.end(number) == code


def test_watch_in_json_is_a_stream(start: Callable[..., Running], tmp_path: Path) -> None:
    watching = start("watch", "--offline", "--apply", "--json")
    first, second = (json.loads(watching.until(bool)[-1]) for _ in range(2))
    assert (first["type"], first["schemaVersion"]) == ("version", "1")
    assert (second["type"], second["why"], second["error"]) == ("pass", "start", None)
    assert second["report"]["plan"]["name"] == "watched"
    (tmp_path / "here" / "localmodels.yaml").write_text("localModels: [")
    broken = json.loads(watching.until(bool)[-1])
    assert (broken["lastGood"], broken["error"]["code"]) == (True, "desired-state-invalid")
    assert watching.end(signal.SIGTERM) == 143
    last = json.loads(watching.until(lambda line: '"report"' in line[:20])[-1])
    assert (last["ok"], last["data"]) == (True, {"passes": 2, "exitCode": 143})


def test_mirror_says_its_url_first_and_ends_cleanly(start: Callable[..., Running], tmp_path: Path) -> None:
    (tmp_path / "here" / "acme" / "m").mkdir(parents=True)
    mirror = start("mirror", "--dir", ".")
    url = mirror.until(lambda line: line.startswith("http://127.0.0.1:"))[-1]
    with urllib.request.urlopen(f"{url}/api/models", timeout=PATIENCE_SECONDS) as reply:
        assert reply.status == 200
    assert mirror.end(signal.SIGTERM) == 143


def test_apply_that_is_stopped_in_a_download_goes_on_from_there(start: Callable[..., Running], tmp_path: Path) -> None:
    folder = tmp_path / "mirrored" / "acme" / "m-GGUF"
    make_gguf(folder / "m-Q8_0.gguf")
    with (folder / "m-Q8_0.gguf").open("ab") as file:
        file.write(bytes(24_000_000))
    with serve(tmp_path / "mirrored") as mirror:
        slow = f"""\
localModels:
  name: slow
  pool: {{diskBudget: 1GB, minFreeDisk: 1MB, allowedOrgs: [acme]}}
  slots: [{{name: chat, model: acme/m-GGUF, quant: Q8_0}}]
  targets: [{{name: s, runtime: store, path: ./models}}]
  hardware: {{override: {{platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}}}
  hub: {{endpoint: "{mirror.url}"}}
  limits: {{downloadRate: 4MB}}
"""
        (tmp_path / "here" / "localmodels.yaml").write_text(slow)
        first = start("apply", "--yes", "--json")
        first.until(lambda line: '"stepProgress"' in line and '"doneBytes": 0' not in line)
        assert first.end(signal.SIGTERM) == 143
        last = json.loads(first.until(lambda line: '"type": "report"' in line)[-1])
        assert last["ok"] is False
        (tmp_path / "here" / "localmodels.yaml").write_text(slow.replace("4MB", "900MB"))
        second = start("apply", "--yes")
        second.until(lambda line: line.startswith("Done: 1 of 1"))
        assert second.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert (tmp_path / "here/models/acme/m-GGUF/m-Q8_0.gguf").stat().st_size == (folder / "m-Q8_0.gguf").stat().st_size


def _on_a_terminal(folder: Path, answer: str, *words: str) -> tuple[int, str]:
    """Exit code, and everything a person saw on a terminal where they typed ``answer`` when asked."""
    ours, theirs = os.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOCALMODELS_", "HF_"))}
    environment |= {f"LOCALMODELS_{kind}_DIR": str(folder.parent / kind) for kind in ("STATE", "CACHE", "DATA")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "200"}
    command = [sys.executable, "-m", "reconciler", *words]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, answered = b"", False
    while True:
        try:
            got = os.read(ours, 65536)
        except OSError:  # the terminal is gone with the program
            break
        if not got:
            break
        seen += got
        if b"[y/N]" in seen and not answered:
            answered = True
            os.write(ours, answer.encode() + b"\n")
    os.close(ours)
    return process.wait(timeout=PATIENCE_SECONDS), seen.decode()


@pytest.mark.parametrize(("answer", "done"), [("y", True), ("n", False), ("", False)])
def test_apply_asks_on_a_terminal(tmp_path: Path, hub: str, answer: str, done: bool) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "localmodels.yaml").write_text(f"""\
localModels:
  name: asked
  pool: {{diskBudget: 1GB, minFreeDisk: 1MB, allowedOrgs: [acme]}}
  slots: [{{name: chat, model: acme/tiny-GGUF, quant: Q8_0}}]
  targets: [{{name: s, runtime: store, path: ./models}}]
  hardware: {{override: {{platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}}}
  hub: {{endpoint: "{hub}"}}
""")
    code, seen = _on_a_terminal(folder, answer, "apply")
    assert code == 0
    assert "Plan: 1 install" in seen.partition("[y/N]")[0]
    assert ("a second look agrees" in seen) is done
    assert ("nothing was changed" in seen) is not done
    assert (folder / "models/acme/tiny-GGUF/tiny-Q8_0.gguf").exists() is done
    assert "\x1b[32m" in seen
