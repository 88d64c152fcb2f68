"""A real Debian ``docker-registry`` on loopback, in a folder of its own, and how a model gets into it.

Run with 2.8.2. Install it with ``apt-get install docker-registry``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.doubles.ollama_model import MANIFEST_TYPE, Blob, Packed

PROGRAM = "docker-registry"

_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def required() -> bool:
    """Whether a missing program is a failure instead of a skip."""
    return os.environ.get("LOCALMODELS_REQUIRE_E2E") == "1"


def skip_without(program: str, how: str) -> None:
    """Skip with a visible reason where a real program is missing; fail where it is expected."""
    if shutil.which(program) is not None:
        return
    reason = f"{program} is not installed: {how}"
    if required():
        pytest.fail(f"{reason} (LOCALMODELS_REQUIRE_E2E=1)")
    pytest.skip(reason)


class DockerRegistry:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _free_port()
        self._program: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config, log = self._folder / "config.yml", self._folder / "registry.log"
        self._folder.mkdir(parents=True, exist_ok=True)
        config.write_text(_CONFIG.format(root=self._folder / "data", port=self._port))
        with log.open("wb") as sink:
            self._program = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=sink, stderr=sink)
        try:
            self._wait(log)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def push(self, name: str, model: Packed) -> None:
        """Store a model as ``namespace/model:tag``."""
        repo, _, tag = name.partition(":")
        for blob in model.blobs:
            self._push_blob(repo, blob)
        self._send("PUT", f"{self.url}/v2/{repo}/manifests/{tag}", model.manifest, MANIFEST_TYPE)

    def _push_blob(self, repo: str, blob: Blob) -> None:
        place = self._send("POST", f"{self.url}/v2/{repo}/blobs/uploads/", b"", "application/octet-stream")
        joint = "&" if "?" in place else "?"
        self._send("PUT", f"{place}{joint}digest={blob.digest}", blob.read(), "application/octet-stream")

    def _send(self, method: str, url: str, body: bytes, kind: str) -> str:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.headers.get("Location", ""))

    def _wait(self, log: Path) -> None:
        for _ in range(500):
            try:
                with urllib.request.urlopen(f"{self.url}/v2/", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                assert self._program is not None
                if self._program.poll() is not None:
                    break
                time.sleep(0.02)
        raise RuntimeError(f"{PROGRAM} did not start: {log.read_text()[-2000:]}")

    def _end(self) -> None:
        if self._program is not None:
            self._program.terminate()
            self._program.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
