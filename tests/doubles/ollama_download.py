"""Blobs on their way into the double's directory: shared between pulls, in parts, resumed, verified, breakable.

Source: Ollama 0.33.0-rc2 (parts, partial files, reference count, disk full; a redirect is needed).
Simplified: parts are fetched one after another, and the server's own six tries per part are one.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.ollama_store import Store


class PullError(Exception):
    """What goes out as an ``error`` line."""


@dataclass
class Faults:
    """Switches, each off by default. Those with a count wear off after so many uses (``times``)."""

    error_after: int | None = None
    """Bytes of one blob after which the pull ends with ``error_text``."""
    error_text: str = "max retries exceeded: unexpected EOF"
    disconnect_after: int | None = None
    """Bytes after which the connection to the client breaks."""
    end_after: int | None = None
    """Bytes after which the stream ends properly, without ``success`` and without ``error`` (1.5)."""
    stall_after: int | None = None
    """Bytes after which nothing more comes while the lines go on (1.6)."""
    silent_stall: bool = False
    """The lines stop too."""
    no_space_after: int | None = None
    """Bytes after which the disk is full; the partial files stay (1.6)."""
    roll_back_at: int | None = None
    """Bytes at which ``completed`` falls to 0 once and the part is fetched again (1.4)."""
    digest_mismatch: bool = False
    """What arrives is not what the manifest names; the blob is thrown away (1.5)."""
    manifest_error: str | None = None
    """In-stream text instead of a manifest."""
    garbage_line: bytes | None = None
    """A line that is no JSON, sent before ``verifying``."""
    error_then_success: str | None = None
    """An error line, and ``success`` after it all the same (1.5)."""
    times: int | None = None
    """Pulls that the switches hold for; None: every pull."""
    status: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Path → (status, body) instead of an answer; a status of 0 breaks the connection."""


@dataclass
class Part:
    """One range of a blob; its JSON file is written when an attempt at it ends (1.6)."""

    number: int
    offset: int
    size: int
    completed: int = 0

    def save(self, partial: Path) -> None:
        document = {"N": self.number, "Offset": self.offset, "Size": self.size, "Completed": self.completed}
        Path(f"{partial}-{self.number}").write_text(json.dumps(document))


class Download:
    """One blob, fetched once however many pulls wait for it."""

    def __init__(
        self, store: Store, digest: str, size: int, source: Callable[[], str], faults: Faults, pace: Pace
    ) -> None:
        self.digest, self.size = digest, size
        self.final = store.blob(digest)
        self.partial = Path(f"{self.final}-partial")
        self.waiting = 0
        self.error: str | None = None
        self.killed = False
        self._source, self._faults, self._pace = source, faults, pace
        self._stop, self.finished = threading.Event(), threading.Event()
        self.parts = self._found_parts() or self._new_parts()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def completed(self) -> int:
        return sum(part.completed for part in self.parts)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        self._stop.set()
        self._thread.join()

    def _found_parts(self) -> list[Part]:
        files = sorted(
            self.partial.parent.glob(f"{self.partial.name}-*"), key=lambda path: int(path.name.rpartition("-")[2])
        )
        documents = [json.loads(path.read_text()) for path in files]
        return (
            [Part(d["N"], d["Offset"], d["Size"], d["Completed"]) for d in documents] if self.partial.exists() else []
        )

    def _new_parts(self) -> list[Part]:
        starts = range(0, max(self.size, 1), self._pace.part_bytes)
        return [Part(n, at, min(self._pace.part_bytes, self.size - at)) for n, at in enumerate(starts)]

    def _run(self) -> None:
        try:
            place = self._location()
            with self.partial.open("r+b" if self.partial.exists() else "w+b") as file:
                file.truncate(self.size)
                for part in self.parts:
                    part.save(self.partial)
                for part in self.parts:
                    while part.completed < part.size and not self._stop.is_set():
                        with suppress(_RollBackError):
                            self._fetch(part, place, file)
            if not self._stop.is_set():
                self._finish()
        except (PullError, OSError) as error:
            self.error = str(error)
        finally:
            self.finished.set()

    def _location(self) -> str:
        request = urllib.request.Request(self._source())
        try:
            with _NO_REDIRECT.open(request, timeout=10) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (301, 302, 307, 308) and error.headers.get("Location"):
                    return str(error.headers["Location"])
                raise PullError("file does not exist" if error.code == 404 else f"{error.code}: ") from None
        raise PullError("http: no Location header in response")

    def _fetch(self, part: Part, place: str, file: Any) -> None:
        span = f"bytes={part.offset + part.completed}-{part.offset + part.size - 1}"
        request = urllib.request.Request(place, headers={"Range": span})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                file.seek(part.offset + part.completed)
                while part.completed < part.size and not self._stop.is_set():
                    piece = answer.read(min(self._pace.chunk_bytes, part.size - part.completed))
                    if not piece:
                        raise PullError("max retries exceeded: unexpected EOF")
                    file.write(piece)
                    part.completed += len(piece)
                    self._suffer(part, file)
                    self._pace.wait(len(piece), self._stop)
        except urllib.error.URLError as error:
            raise PullError(f"max retries exceeded: {error}") from None
        finally:
            if not self.killed:
                part.save(self.partial)

    def _suffer(self, part: Part, file: Any) -> None:
        faults, done = self._faults, self.completed
        if faults.no_space_after is not None and done >= faults.no_space_after:
            raise PullError(f"write {self.partial}: no space left on device")
        if faults.error_after is not None and done >= faults.error_after:
            raise PullError(faults.error_text)
        holds = (faults.stall_after, faults.disconnect_after, faults.end_after)
        if any(limit is not None and done >= limit for limit in holds):
            self._stop.wait()
        if faults.roll_back_at is not None and done >= faults.roll_back_at:
            faults.roll_back_at, part.completed = None, 0
            file.flush()
            part.save(self.partial)
            self._stop.wait(self._pace.tick_seconds * 2)
            raise _RollBackError

    def _finish(self) -> None:
        for path in self.partial.parent.glob(f"{self.partial.name}-*"):
            path.unlink()
        self.partial.rename(self.final)


class _RollBackError(PullError):
    """A chunk failed and is begun again."""

    def __init__(self) -> None:
        super().__init__("max retries exceeded: chunk rolled back")


@dataclass
class Pace:
    """How fast, and in how large pieces."""

    tick_seconds: float = 0.06
    part_bytes: int = 100_000_000
    chunk_bytes: int = 65_536
    bytes_per_second: float | None = None

    def wait(self, count: int, stop: threading.Event) -> None:
        if self.bytes_per_second:
            stop.wait(count / self.bytes_per_second)


class _Kept(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_NO_REDIRECT = urllib.request.build_opener(_Kept, urllib.request.ProxyHandler({}))


class Downloads:
    """Every download under way: two pulls of one blob share it; it ends when nobody waits any more (1.6)."""

    def __init__(self, store: Store, pace: Pace) -> None:
        self._store, self._pace = store, pace
        self._running: dict[str, Download] = {}
        self._lock = threading.Lock()

    def join(self, digest: str, size: int, source: Callable[[], str], faults: Faults) -> Download:
        with self._lock:
            download = self._running.get(digest)
            if download is None or download.finished.is_set():
                download = Download(self._store, digest, size, source, faults, self._pace)
                self._running[digest] = download
                download.start()
            download.waiting += 1
            return download

    def leave(self, download: Download) -> None:
        with self._lock:  # also while it stops: the next pull reads the parts that this one writes down
            download.waiting -= 1
            if download.waiting:
                return
            download.cancel()
            if self._running.get(download.digest) is download:
                del self._running[download.digest]

    def kill(self) -> None:
        """As SIGKILL: what the parts in flight fetched since their last record is forgotten (1.6)."""
        with self._lock:
            running = list(self._running.values())
        for download in running:
            download.killed = True
            download.cancel()
