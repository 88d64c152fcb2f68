"""A store over a folder of the test, and a source that misbehaves on request."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.desired import Limits, Target
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.units import Bytes
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes import download
from reconciler.integrations.runtimes.store import Store
from tests.fakes import FixedClock

HUB = "https://hub.example"
COMMIT = "c0ffee" + "0" * 34
REPO = "org/Tiny-GGUF"
NAME = f"{REPO}/tiny-Q8_0.gguf"
SEGMENT = download.SEGMENT_BYTES


def content(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Body(httpx.AsyncByteStream):
    """Bytes in pieces; then, where asked to, a pause that never ends or a broken connection."""

    def __init__(self, body: bytes, *, stall: bool = False, broken: bool = False, piece: int = 65_536) -> None:
        self._body, self._stall, self._broken, self._piece = body, stall, broken, piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), self._piece):
            await asyncio.sleep(0)
            yield self._body[start : start + self._piece]
        if self._stall:
            await asyncio.sleep(3600)
        if self._broken:
            raise httpx.ReadError("connection reset")


Answerer = Callable[[httpx.Request, "Source"], httpx.Response | None]


@dataclass
class Source:
    """Serves files by path with ranges; ``faults`` answer instead, each once, in order."""

    files: dict[str, bytes]
    ranges: bool = True
    etag: str | None = None
    faults: list[Answerer] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    sent: int = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.faults:
            response = self.faults.pop(0)(request, self)
            if response is not None:
                return response
        return self.honest(request)

    def honest(self, request: httpx.Request, cut: int | None = None, **how: bool) -> httpx.Response:
        body = self.files.get(request.url.path)
        if body is None:
            return httpx.Response(404, headers={"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": self.etag} if self.etag else {}
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        status, part = 200, body
        if match and self.ranges and request.headers.get("if-range", self.etag) == self.etag:
            start, end = int(match[1]), min(int(match[2]) + 1, len(body))
            if start >= len(body):
                return httpx.Response(416)
            status, part = 206, body[start:end]
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
        headers["Content-Length"] = str(len(part))
        part = part if cut is None else part[:cut]
        self.sent += len(part)
        return httpx.Response(status, headers=headers, stream=Body(part, **how))


def path_of(name: str) -> str:
    return f"/{REPO}/resolve/{COMMIT}/{name.removeprefix(REPO + '/')}"


def artifact(files: dict[str, bytes], *, endpoint: str = HUB) -> HubArtifact:
    """Of files by path inside ``REPO``."""
    return HubArtifact(
        endpoint=endpoint,
        repo=REPO,
        commit=COMMIT,
        files=tuple(ArtifactFile(path=path, bytes=Bytes(len(body)), sha256=sha(body)) for path, body in files.items()),
    )


def row(files: dict[str, bytes], *, action: Action = Action.INSTALL, endpoint: str = HUB, **more: object) -> Row:
    return Row(
        address="slot/chat[0]",
        action=action,
        reason=Reason.MISSING,
        target="local",
        target_key="store|/x",
        name=f"{REPO}/{next(iter(files))}",
        artifact=artifact(files, endpoint=endpoint),
        **more,  # type: ignore[arg-type]
    )


@dataclass
class World:
    store: Store
    root: Path
    source: Source
    clock: FixedClock
    progress: list[tuple[int, int, str]] = field(default_factory=list)

    def told(self, done: int, total: int, note: str = "") -> None:
        self.progress.append((done, total, note))

    def partials(self) -> list[str]:
        folder = self.root / ".localmodels" / "partial"
        return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


def world(
    tmp_path: Path,
    files: dict[str, bytes] | None = None,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    reserve_bytes: int = 0,
    idle_timeout_seconds: float = 30.0,
    source: Source | None = None,
) -> World:
    """A store in ``tmp_path/store`` whose Hub serves ``files`` (by path inside ``REPO``)."""
    served = source or Source({path_of(path): body for path, body in (files or {}).items()})
    clock = FixedClock()
    root = tmp_path / "store"
    store = Store(
        Target(name="local", path=str(root)),
        http=lambda: Http(clock=clock, transport=httpx.MockTransport(served)),
        clock=clock,
        token=token,
        hub_endpoint=HUB,
        limits=limits or Limits(),
        cache_directory=tmp_path / "cache",
        reserve_bytes=lambda _: reserve_bytes,
        idle_timeout_seconds=idle_timeout_seconds,
    )
    return World(store, root, served, clock)


def put(root: Path, name: str, body: bytes = b"GGUF") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    return path
