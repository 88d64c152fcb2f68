"""Fetch one file into a ``Partial``: several ranges at once, verified while it arrives, resumable at any moment.

The connections write to disk; a follower hashes the contiguous front from there (the page cache) in a thread, so the
SHA-256 is known a moment after the last byte, whatever order the bytes came in and however often the run was
interrupted. What decides is the digest: a redirect may lead anywhere, because wrong content cannot get through.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.pauses import retry_after_seconds
from reconciler.integrations.runtimes.partials import Partial, Ranges, ensure_room
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.integrations.http import Http, Stream

SEGMENT_BYTES = 32 * 2**20
"""One request asks for so much: small enough for the front to follow, large enough for a request not to matter."""
WRITE_BYTES = 2**20
HASH_STEP_BYTES = 2**20
CHECKPOINT_SECONDS = 0.5
"""At most so much of a download is fetched again after a kill."""
TRIES_WITHOUT_PROGRESS = 6
PROGRESS_BYTES = 2**20
"""A try that brought so much counts as progress: the next failure starts counting anew."""
LONGEST_WAIT_SECONDS = 60.0
STALL_SECONDS = 20.0
"""An answer or a connection without a byte for so long is given up and tried again."""
PATIENCE_SECONDS = 60.0
"""A source that brought no byte on any connection for so long is given up; pauses that it asked for are not counted."""
RESTARTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507, 520, 521, 522, 523, 524, 529})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFUSALS = {
    "GatedRepo": ("gated", "accept the licence on the model's page and set a token (hub.tokenFrom)"),
    "RepoNotFound": ("not-found", "check the repository's name; a private one needs a token (hub.tokenFrom)"),
    "EntryNotFound": ("not-found", "the file is no longer in the repository: run plan again"),
    "RevisionNotFound": ("not-found", "the commit is no longer there: run plan again"),
}
Result = TypeVar("Result")


class RateLimit:
    """A token bucket over every download that shares it.

    Args:
        bytes_per_second: None lets everything through.
        clock: tells the time and sleeps.
        burst_seconds: how much unused time may be made up for.
    """

    def __init__(self, bytes_per_second: int | None, clock: Clock, *, burst_seconds: float = 0.25) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._burst_seconds = burst_seconds
        self._paid_until: float | None = None

    async def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may pass."""
        if not self._rate:
            return
        now = self._clock.elapsed()
        floor = now - self._burst_seconds
        begin = floor if self._paid_until is None else max(self._paid_until, floor)
        self._paid_until = begin + count / self._rate
        wait = self._paid_until - now
        if wait > 0:
            await self._clock.sleep(wait)


@dataclass(slots=True)
class _Segment:
    at: int
    end: int


@dataclass(slots=True)
class _Front:
    """The hash of the first ``at`` bytes. Replaced, never rewound: a thread may still feed the old one."""

    hasher: hashlib._Hash
    at: int = 0


class _StartOver(Exception):
    """The source sends other content than before, or no ranges."""

    def __init__(self, *, single: bool) -> None:
        self.single = single


class Download:
    """One file on its way. ``run`` once; on any error but ``Corrupt`` the partial can be resumed.

    Args:
        partial: open, locked.
        http: the door to the network.
        clock: sleeps between tries.
        token: sent as a bearer token to the origin of ``token_origin`` only.
        token_origin: URL whose scheme, host and port may see the token.
        connections: requests at once, at least 1.
        rate: shared limit.
        reserve_bytes: to stay free on the disk.
        moved: told the bytes in place after every write.
        idle_timeout_seconds: a connection without a byte for so long is given up and tried again.
    """

    def __init__(
        self,
        partial: Partial,
        http: Http,
        *,
        clock: Clock,
        token: str | None = None,
        token_origin: str = "",
        connections: int = 4,
        rate: RateLimit | None = None,
        reserve_bytes: int = 0,
        moved: Callable[[int], None] = lambda _: None,
        idle_timeout_seconds: float = STALL_SECONDS,
    ) -> None:
        self._heard_at = clock.elapsed()
        self._partial = partial
        self._wanted = partial.wanted
        self._http = http
        self._clock = clock
        self._token = token
        self._token_origin = _origin(token_origin)
        self._connections = max(1, connections)
        self._rate = rate
        self._reserve_bytes = reserve_bytes
        self._moved = moved
        self._idle_seconds = idle_timeout_seconds
        self._single = False
        self._location: str | None = None
        self._etags: dict[str, str] = {}
        self._queue: list[_Segment] = []
        self._grown = asyncio.Event()
        self._ranges_work = asyncio.Event()
        self._front = _Front(hashlib.sha256())
        self._pool: ThreadPoolExecutor | None = None

    async def run(self) -> None:
        """Bring the partial to its full, verified content.

        Raises:
            Unreachable: the source does not answer, or breaks off too often. Refused: it says no. Corrupt: length or
            digest are wrong, and the bytes are thrown away. OutOfSpace: nothing more was written.
        """
        try:
            with ThreadPoolExecutor(self._connections + 2, thread_name_prefix="download") as self._pool:
                await self._until_stable()
                self._check_digest(self._front.hasher.hexdigest())
                await self._threaded(self._partial.checkpoint, self._partial.written)
        except Corrupt:
            self._partial.discard()
            raise
        except BaseException:
            with suppress(OutsideError):
                self._partial.checkpoint(self._partial.written)
            raise

    def _check_digest(self, found: str) -> None:
        if found != self._wanted.sha256:
            raise Corrupt(
                f"{self._wanted.name}: the content's SHA-256 is not the promised one; it was thrown away",
                hint="apply again; if it stays so, the source is damaged or serves something else",
                details={"expected": self._wanted.sha256, "found": found},
            )

    async def _until_stable(self) -> None:
        for _ in range(RESTARTS):
            try:
                return await self._attempt()
            except BaseExceptionGroup as group:
                errors = _leaves(group)
                again = [error for error in errors if isinstance(error, _StartOver)]
                if not again:
                    raise errors[0] from None
                self._start_over(single=any(error.single for error in again))
        raise Corrupt(f"{self._wanted.name}: the source's content changes while it is fetched", code="content-changed")

    def _start_over(self, *, single: bool) -> None:
        self._single = self._single or single
        self._partial.start_over()
        self._front = _Front(hashlib.sha256())
        self._etags.clear()
        self._ranges_work.clear()

    async def _attempt(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._queue = self._segments()
            checkpoints = group.create_task(self._checkpoint_forever())
            hashing = group.create_task(self._hash_front())
            workers = [group.create_task(self._work(number)) for number in range(self._connections)]
            await asyncio.gather(*workers)
            await hashing
            checkpoints.cancel()

    def _segments(self) -> list[_Segment]:
        """What is missing, cut for one request each, in order: the front is served first."""
        step = self._wanted.size if self._single else SEGMENT_BYTES
        return [
            _Segment(at, min(at + step, end))
            for start, end in self._partial.written.missing(self._wanted.size)
            for at in range(start, end, step)
        ]

    # ------------------------------------------------------------------ network

    async def _work(self, number: int) -> None:
        """One connection. Only the first asks until the source has shown that it honours ranges."""
        if number:
            await self._ranges_work.wait()
        while self._queue:
            await self._fetch(self._queue.pop(0))
        self._ranges_work.set()

    async def _fetch(self, segment: _Segment) -> None:
        failures = 0
        while segment.at < segment.end:
            before = segment.at
            try:
                await self._exchange(segment)
            except Unreachable as error:
                self._location = None
                progressed = segment.at - before >= PROGRESS_BYTES and not self._single
                failures = 1 if progressed else failures + 1
                wait = _wait_seconds(failures, error)
                if failures >= TRIES_WITHOUT_PROGRESS or wait > LONGEST_WAIT_SECONDS:
                    raise
                if error.retry_after_seconds is not None:
                    self._heard_at += wait
                elif self._clock.elapsed() - self._heard_at + wait > PATIENCE_SECONDS:
                    raise
                await self._clock.sleep(wait)

    async def _exchange(self, segment: _Segment) -> None:
        """Ask for what is left of a segment and write what comes, following redirects."""
        if self._single and segment.at:
            self._start_over(single=True)
            segment.at = 0
        url = self._location or self._wanted.url
        for _ in range(6):
            headers = self._headers(url, segment)
            async with self._http.stream(
                "GET", url, headers=headers, idle_timeout_seconds=self._idle_seconds
            ) as answer:
                self._check_promise(answer, url)
                if answer.status not in _REDIRECTS:
                    await self._check_status(answer, url)
                    self._check_extent(answer, url, segment, conditional="If-Range" in headers)
                    self._location = url
                    return await self._take(answer, segment)
                url = _redirected(answer, url)
        raise Refused(f"{self._wanted.name}: the source redirects in circles", code="too-many-redirects")

    def _headers(self, url: str, segment: _Segment) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if not self._single:
            headers["Range"] = f"bytes={segment.at}-{segment.end - 1}"
            if etag := self._etags.get(_place(url)):
                headers["If-Range"] = etag
        if self._token and _origin(url) == self._token_origin:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _check_promise(self, answer: Stream, url: str) -> None:
        """The Hub states the content's digest beside the file: another one need not be fetched to be refused."""
        linked = answer.headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
        at_source = _origin(url) == _origin(self._wanted.url)
        if at_source and _SHA256.fullmatch(linked) and linked != self._wanted.sha256:
            raise Corrupt(
                f"{self._wanted.name}: the source now offers other content under this name",
                code="content-changed",
                hint="run plan again",
                details={"expected": self._wanted.sha256, "found": linked},
            )

    async def _check_status(self, answer: Stream, url: str) -> None:
        status = answer.status
        if status in (200, 206):
            return
        place = _place(url)
        at_source = _origin(url) == _origin(self._wanted.url)
        if status == 416:
            raise Corrupt(f"{place}: the file is shorter than {self._wanted.size} bytes", code="wrong-length")
        if status in _LATER or not at_source:
            raise Unreachable(
                f"{place} answered {status}",
                code="rate-limited" if status == 429 else "server-error",
                details={"url": place, "status": status},
                retry_after_seconds=self._asked_to_wait(answer.headers),
            )
        code, hint = _REFUSALS.get(answer.headers.get("x-error-code", ""), _by_status(status))
        raise Refused(f"{place} answered {status}", code=code, hint=hint, details={"url": place, "status": status})

    def _asked_to_wait(self, headers: Mapping[str, str]) -> float | None:
        return retry_after_seconds(headers, self._clock.now())

    def _check_extent(self, answer: Stream, url: str, segment: _Segment, *, conditional: bool) -> None:
        """Whether the body is the very range asked for, of the very content seen before."""
        if answer.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            raise Refused(f"{_place(url)} sends the file compressed, which cannot be resumed", code="bad-answer")
        if answer.status == 200:
            if not self._single and (conditional or (segment.at, segment.end) != (0, self._wanted.size)):
                raise _StartOver(single=not conditional)
            self._check_length(answer.headers.get("content-length"), url)
            return
        match = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
        if match is None or int(match[1]) != segment.at:
            raise _StartOver(single=True)
        self._check_length(match[3] if match[3] != "*" else None, url)
        etag = answer.headers.get("etag", "")
        if etag and not etag.startswith("W/") and self._etags.setdefault(_place(url), etag) != etag:
            raise _StartOver(single=False)
        self._ranges_work.set()

    def _check_length(self, stated: str | None, url: str) -> None:
        if stated is not None and stated != str(self._wanted.size):
            raise Corrupt(
                f"{_place(url)}: {stated} bytes offered, {self._wanted.size} promised; nothing of it is kept",
                code="wrong-length",
                hint="run plan again",
            )

    async def _take(self, answer: Stream, segment: _Segment) -> None:
        """Write a body as it comes; a pause, an early end or a cancellation keeps what arrived."""
        loop = asyncio.get_running_loop()
        held = bytearray()
        flushed_at, excess = loop.time(), False
        try:
            async with asyncio.timeout(self._idle_seconds) as idle:
                async for chunk in answer.chunks():
                    excess = excess or len(chunk) > segment.end - segment.at - len(held)
                    held += chunk[: segment.end - segment.at - len(held)]
                    if self._rate is not None:
                        idle.reschedule(None)
                        await self._rate.take(len(chunk))
                    now = loop.time()
                    if len(held) >= WRITE_BYTES or now - flushed_at > 0.2:
                        content, held, flushed_at = held, bytearray(), now
                        idle.reschedule(None)
                        await self._write(segment, content)
                    idle.reschedule(loop.time() + self._idle_seconds)
        except TimeoutError as error:
            raise Unreachable(f"{_place(answer.url)} stopped sending", code="timed-out") from error
        finally:
            if held:
                self._partial.write(segment.at, held)
                self._placed(segment, len(held))
        if excess and answer.status == 200:
            raise Corrupt(f"{_place(answer.url)} sent more than {self._wanted.size} bytes", code="wrong-length")
        if segment.at < segment.end:
            raise Unreachable(f"{_place(answer.url)} broke off early", code="connection-lost")

    # --------------------------------------------------------------------- disk

    async def _write(self, segment: _Segment, content: bytearray) -> None:
        await self._threaded(self._partial.write, segment.at, content)
        self._placed(segment, len(content))

    def _placed(self, segment: _Segment, count: int) -> None:
        self._partial.written.add(segment.at, segment.at + count)
        segment.at += count
        self._heard_at = self._clock.elapsed()
        self._grown.set()
        self._moved(self._partial.written.total)

    async def _checkpoint_forever(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_SECONDS)
            ensure_room(self._partial.path.parent, self._partial.missing_disk_bytes, self._reserve_bytes)
            await self._threaded(self._partial.checkpoint, Ranges(self._partial.written.spans))

    async def _hash_front(self) -> None:
        while self._front.at < self._wanted.size:
            self._grown.clear()
            target = self._partial.written.front
            if self._front.at < target:
                await self._threaded(self._hash_step, self._front, min(target, self._front.at + 32 * HASH_STEP_BYTES))
            else:
                await self._grown.wait()

    def _hash_step(self, front: _Front, target: int) -> None:
        while front.at < target:
            block = os.pread(self._partial.descriptor, min(HASH_STEP_BYTES, target - front.at), front.at)
            if not block:
                raise Corrupt(f"{self._partial.path} was cut short by another program", code="content-changed")
            front.hasher.update(block)
            front.at += len(block)

    async def _threaded(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _wait_seconds(failures: int, error: Unreachable) -> float:
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds + random.random()  # noqa: S311 - jitter, not a secret
    return float(min(15.0, 0.25 * 2**failures) * (0.5 + random.random()))  # noqa: S311


def _by_status(status: int) -> tuple[str, str]:
    if status in (401, 403):
        return "unauthorised", "the source wants a token that may read this (hub.tokenFrom)"
    if status in (404, 410):
        return "not-found", "the file is not there any more: run plan again"
    return "refused", "look at the source in a browser"


def _redirected(answer: Stream, url: str) -> str:
    """The next URL. Another host is fine (the digest decides), another scheme than the web's is not."""
    target = urljoin(url, answer.headers.get("location", ""))
    scheme = urlsplit(target).scheme
    downgrade = urlsplit(url).scheme == "https" and scheme == "http"
    if scheme not in ("http", "https") or downgrade or target == url:
        raise Refused(f"{_place(url)} redirects to {_place(target)}, which is not followed", code="bad-redirect")
    return target


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what may see a secret."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", url, None


def _place(url: str) -> str:
    """A URL as it may be shown: its query may hold a signature."""
    return url.partition("?")[0]
