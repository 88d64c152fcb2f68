"""Fetch one file into a ``Partial``: several ranges at once, verified while it arrives, resumable at any moment.

The connections write to disk; a follower hashes the contiguous front from there (the page cache) in a thread, so the
SHA-256 is known a moment after the last byte, whatever order the bytes came in and however often the run was
interrupted. What an answer is worth is ``download_source``.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.download_source import Segment, Source, StartOver, place_of
from reconciler.integrations.runtimes.partials import Partial, Ranges, ensure_room
from reconciler.integrations.runtimes.rate_limit import RateLimit
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
Result = TypeVar("Result")


@dataclass(slots=True)
class _Front:
    """The hash of the first ``at`` bytes. Replaced, never rewound: a thread may still feed the old one."""

    hasher: hashlib._Hash
    at: int = 0


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
        self._source = Source(partial.wanted, clock=clock, token=token, token_origin=token_origin)
        self._connections = max(1, connections)
        self._rate = rate
        self._reserve_bytes = reserve_bytes
        self._moved = moved
        self._idle_seconds = idle_timeout_seconds
        self._queue: list[Segment] = []
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
                again = [error for error in errors if isinstance(error, StartOver)]
                if not again:
                    raise errors[0] from None
                self._start_over(single=any(error.single for error in again))
        raise Corrupt(f"{self._wanted.name}: the source's content changes while it is fetched", code="content-changed")

    def _start_over(self, *, single: bool) -> None:
        self._source.start_over(single=single)
        self._partial.start_over()
        self._front = _Front(hashlib.sha256())
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

    def _segments(self) -> list[Segment]:
        """What is missing, cut for one request each, in order: the front is served first."""
        step = self._wanted.size if self._source.is_single else SEGMENT_BYTES
        return [
            Segment(at, min(at + step, end))
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

    async def _fetch(self, segment: Segment) -> None:
        failures = 0
        while segment.at < segment.end:
            before = segment.at
            try:
                await self._exchange(segment)
            except Unreachable as error:
                self._source.forget_place()
                progressed = segment.at - before >= PROGRESS_BYTES and not self._source.is_single
                failures = 1 if progressed else failures + 1
                wait = _wait_seconds(failures, error)
                if failures >= TRIES_WITHOUT_PROGRESS or wait > LONGEST_WAIT_SECONDS:
                    raise
                if error.retry_after_seconds is not None:
                    self._heard_at += wait
                elif self._clock.elapsed() - self._heard_at + wait > PATIENCE_SECONDS:
                    raise
                await self._clock.sleep(wait)

    async def _exchange(self, segment: Segment) -> None:
        """Ask for what is left of a segment and write what comes, following redirects."""
        if self._source.is_single and segment.at:
            self._start_over(single=True)
            segment.at = 0
        url = self._source.url
        for _ in range(6):
            headers = self._source.headers(url, segment)
            async with self._http.stream(
                "GET", url, headers=headers, idle_timeout_seconds=self._idle_seconds
            ) as answer:
                following = self._source.redirect(answer, url)
                if following is None:
                    self._source.check(answer, url, segment, conditional="If-Range" in headers)
                    if answer.status == 206:
                        self._ranges_work.set()
                    return await self._take(answer, segment)
                url = following
        raise Refused(f"{self._wanted.name}: the source redirects in circles", code="too-many-redirects")

    async def _take(self, answer: Stream, segment: Segment) -> None:
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
            raise Unreachable(f"{place_of(answer.url)} stopped sending", code="timed-out") from error
        finally:
            if held:
                self._partial.write(segment.at, held)
                self._placed(segment, len(held))
        if excess and answer.status == 200:
            raise Corrupt(f"{place_of(answer.url)} sent more than {self._wanted.size} bytes", code="wrong-length")
        if segment.at < segment.end:
            raise Unreachable(f"{place_of(answer.url)} broke off early", code="connection-lost")

    # --------------------------------------------------------------------- disk

    async def _write(self, segment: Segment, content: bytearray) -> None:
        await self._threaded(self._partial.write, segment.at, content)
        self._placed(segment, len(content))

    def _placed(self, segment: Segment, count: int) -> None:
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
