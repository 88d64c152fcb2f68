"""A real llama-server in router mode, and a way to its Hub that can be slow, cut or lying."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import gguf

from tests.e2e.llama_memory import dense
from tests.e2e.rig import Tap, fetch, free_port, llama_server_command, wait_for


class Line(Tap):
    """A way to a server that is as fast as ``rate`` says, and can change what the server sends."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.straight = url
        """The same server, by a way of its own."""
        self.rate: float | None = None
        """Bytes a second; None: as fast as it goes."""
        self.lie: tuple[bytes, bytes] | None = None
        """What is sent for what, of the same length."""

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with closing(sink), suppress(OSError):
            while chunk := source.recv(16_384):
                if counted and self.lie is not None:
                    chunk = chunk.replace(*self.lie)
                sink.sendall(chunk)
                if counted:
                    self.bytes += len(chunk)
                    if self.rate is not None:
                        time.sleep(len(chunk) / self.rate)
            sink.shutdown(socket.SHUT_WR)
            source.recv(1)


class Router:
    """The process; ``start`` again after ``kill`` finds the same cache."""

    def __init__(self, folder: Path, hub: str, *flags: str) -> None:
        self.folder, self._hub, self._flags = folder, hub, flags
        self.cache = folder / "cache"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "LLAMA_"))}
        env |= {"HF_ENDPOINT": self._hub, "LLAMA_CACHE": str(self.cache), "HOME": str(self.folder)}
        arguments = ["--host", "127.0.0.1", "--port", str(self.port), "-t", "2", "--context-shift", *self._flags]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [llama_server_command(), *arguments],
                stdout=log,
                stderr=log,
                env=env,
                cwd=self.folder,
                start_new_session=True,
            )
        wait_for(lambda: fetch(f"{self.url}/health")["status"] == "ok", self.log)

    def kill(self) -> None:
        """As a service that is killed: at once, and with its children.

        A download runs in a child. One that outlives its router fetches on, beside the one of the next router.
        """
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def models(self) -> dict[str, str]:
        """Status by name."""
        return {item["id"]: item["status"]["value"] for item in fetch(f"{self.url}/models")["data"]}

    def reload(self) -> None:
        """Have it read its cache and its preset file again."""
        fetch(f"{self.url}/models?reload=1")

    def chat(self, name: str) -> str:
        """What answers under a name, by the vocabulary of its model: a client's way, which loads it."""
        body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        answer = fetch(f"{self.url}/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    def stands_for(self, name: str) -> str:
        """The model that it serves under a name."""
        (preset,) = [item["status"]["preset"] for item in fetch(f"{self.url}/models")["data"] if item["id"] == name]
        return next(line.partition(" = ")[2] for line in preset.splitlines() if line.startswith("hf-repo = "))

    def load(self, name: str) -> None:
        fetch(f"{self.url}/models/load", {"model": name})
        wait_for(lambda: self.models().get(name) == "loaded", self.log)

    def blobs(self) -> list[str]:
        return sorted(path.name for path in self.cache.glob("models--*/blobs/*"))

    @contextmanager
    def answering(self, name: str) -> Iterator[None]:
        """Somebody is being answered by a model, for as long as the block runs."""
        body = {"model": name, "prompt": "once upon a time", "n_predict": -1, "ignore_eos": True, "stream": True}
        request = urllib.request.Request(
            f"{self.url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.readline()
            yield
        wait_for(lambda: not any(slot["is_processing"] for slot in self.slots(name)), self.log)

    def slots(self, name: str) -> list[dict[str, Any]]:
        return list(fetch(f"{self.url}/slots?model={name}&autoload=false"))


def loadable_gguf(path: Path, *, vocab: int = 512) -> Path:
    """A small made-up model that the real server loads; another ``vocab`` is another content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return dense(vocab=vocab).write(path, gguf.GGMLQuantizationType.F16)


def copied(source: Path, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
    return to
