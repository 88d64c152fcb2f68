"""Downloads under faults: what arrives is whole and verified, or it is not there."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.desired import Limits
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutOfSpace, ReconcilerError, Refused, Unreachable
from reconciler.integrations.runtimes.download import PATIENCE_SECONDS, STALL_SECONDS
from reconciler.integrations.runtimes.partials import Partial, Ranges, Wanted, disk_errors, ensure_room
from reconciler.integrations.runtimes.rate_limit import RateLimit
from tests.fakes import FixedClock
from tests.integrations.runtimes.store_world import (
    HUB,
    NAME,
    SEGMENT,
    Answerer,
    Body,
    Source,
    World,
    content,
    path_of,
    row,
    sha,
    world,
)

FILE = "tiny-Q8_0.gguf"
LARGE = content(2 * SEGMENT + 12_345)
SMALL = content(300_000)


def status(code: int, **headers: str) -> Answerer:
    return lambda request, source: httpx.Response(code, headers={k.replace("_", "-"): v for k, v in headers.items()})


async def installs(w: World, body: bytes) -> None:
    installed = await w.store.install(row({FILE: body}), w.told)
    assert (w.root / NAME).read_bytes() == body
    assert installed.digest == sha(body)
    assert w.partials() == []
    assert w.progress[-1] == (len(body), len(body), "")


async def fails(w: World, body: bytes, kind: type[ReconcilerError]) -> ReconcilerError:
    with pytest.raises(kind) as caught:
        await w.store.install(row({FILE: body}), w.told)
    assert not (w.root / NAME).exists()
    assert type(caught.value) is kind
    return caught.value


async def test_arrives_in_several_ranges(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: LARGE})
    await installs(w, LARGE)
    ranges = {request.headers["range"] for request in w.source.asked}
    assert len(ranges) == 3
    assert w.source.sent == len(LARGE)
    assert all(request.headers["accept-encoding"] == "identity" for request in w.source.asked)


@pytest.mark.parametrize("size", [0, 1, 65_536, SEGMENT, SEGMENT + 1])
async def test_any_size(tmp_path: Path, size: int) -> None:
    await installs(world(tmp_path, {FILE: content(size)}), content(size))


async def test_single_stream_where_ranges_are_not_honoured(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: LARGE})
    w.source.ranges = False
    await installs(w, LARGE)
    assert "range" not in w.source.asked[-1].headers


async def test_single_stream_that_breaks_begins_again(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.ranges = False
    w.source.faults = [lambda request, source: source.honest(request, cut=100_000)]
    await installs(w, SMALL)


async def test_single_stream_that_always_breaks_is_given_up(tmp_path: Path) -> None:
    body = content(5_000_000)
    w = world(tmp_path, {FILE: body})
    w.source.ranges = False
    w.source.faults = [lambda request, source: source.honest(request, cut=3_000_000)] * 50
    await fails(w, body, Unreachable)


async def test_a_cut_connection_resumes_where_it_broke(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [
        lambda request, source: source.honest(request, cut=100_000),
        lambda request, source: source.honest(request, cut=50_000, broken=True),
    ]
    await installs(w, SMALL)
    assert [request.headers["range"] for request in w.source.asked] == [
        "bytes=0-299999",
        "bytes=100000-299999",
        "bytes=150000-299999",
    ]
    assert w.source.sent == len(SMALL)
    assert len(w.clock.slept) == 2


async def test_a_stalled_connection_is_noticed_and_tried_again(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL}, idle_timeout_seconds=0.05)
    w.source.faults = [lambda request, source: source.honest(request, cut=100_000, stall=True)]
    await installs(w, SMALL)
    assert w.source.asked[1].headers["range"] == "bytes=100000-299999"


async def test_a_source_that_never_sends_is_given_up(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL}, idle_timeout_seconds=0.01)
    w.source.faults = [lambda request, source: source.honest(request, cut=0, stall=True)] * 50
    error = await fails(w, SMALL, Unreachable)
    assert error.code == "timed-out"
    assert len(w.source.asked) < 20


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
async def test_later_is_tried_again(tmp_path: Path, code: int) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [status(code, Retry_After="7"), status(code)]
    await installs(w, SMALL)
    assert 7 <= w.clock.slept[0] < 8.5


async def test_a_long_wait_is_passed_on(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [status(429, RateLimit='"resolvers";r=0;t=240')]
    error = await fails(w, SMALL, Unreachable)
    assert (error.code, error.retry_after_seconds) == ("rate-limited", 240)
    assert error.retryable


async def test_errors_without_end_are_bounded(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [status(503)] * 50
    assert (await fails(w, SMALL, Unreachable)).code == "server-error"
    assert len(w.source.asked) < 10


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(401), "unauthorised"),
        (status(401, X_Error_Code="RepoNotFound"), "not-found"),
        (status(401, X_Error_Code="GatedRepo"), "gated"),
        (status(403, X_Error_Code="GatedRepo"), "gated"),
        (status(403), "unauthorised"),
        (status(404), "not-found"),
        (status(404, X_Error_Code="RevisionNotFound"), "not-found"),
        (status(410), "not-found"),
        (status(418), "refused"),
        (status(302, Location="file:///etc/passwd"), "bad-redirect"),
        (status(302, Location="http://hub.example/x"), "bad-redirect"),
        (status(302), "bad-redirect"),
        (status(206, Content_Encoding="gzip"), "bad-answer"),
    ],
)
async def test_a_clear_no_is_not_tried_again(tmp_path: Path, answer: Answerer, code: str) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [answer]
    error = await fails(w, SMALL, Refused)
    assert error.code == code
    assert error.hint or code in ("bad-redirect", "bad-answer")
    assert len(w.source.asked) == 1


async def test_wrong_digest_is_thrown_away(tmp_path: Path) -> None:
    other = bytes(len(SMALL))
    w = world(tmp_path, {FILE: other})
    assert (await fails(w, SMALL, Corrupt)).details["found"] == sha(other)
    assert w.partials() == []


@pytest.mark.parametrize("served", [SMALL + b"more", SMALL[:-1], b""])
@pytest.mark.parametrize("ranges", [True, False])
async def test_wrong_length_is_thrown_away(tmp_path: Path, served: bytes, ranges: bool) -> None:
    w = world(tmp_path, {FILE: served})
    w.source.ranges = ranges
    assert (await fails(w, SMALL, Corrupt)).code == "wrong-length"
    assert w.partials() == []


async def test_a_body_longer_than_it_says_is_thrown_away(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.ranges = False
    endless = [lambda request, source: httpx.Response(200, stream=Body(SMALL + SMALL))] * 5
    w.source.faults = list(endless)
    await fails(w, SMALL, Corrupt)


async def test_the_promised_digest_of_a_response_is_compared_first(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [status(302, X_Linked_Etag=f'"{sha(b"other")}"', Location="https://cdn.example/x")]
    assert (await fails(w, SMALL, Corrupt)).code == "content-changed"
    assert len(w.source.asked) == 1


async def test_content_that_changes_on_the_way_is_never_mixed(tmp_path: Path) -> None:
    old = content(len(LARGE), seed=1)
    w = world(tmp_path, {FILE: old}, limits=Limits(concurrent_downloads=1))
    w.source.etag = '"old"'

    def replaced(request: httpx.Request, source: Source) -> None:
        source.files[path_of(FILE)], source.etag = LARGE, '"new"'

    w.source.faults = [lambda request, source: None, replaced]
    await installs(w, LARGE)
    assert w.source.asked[1].headers["if-range"] == '"old"'


async def test_content_that_always_changes_is_refused(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: LARGE}, limits=Limits(concurrent_downloads=1))

    def another(request: httpx.Request, source: Source) -> None:
        source.etag = f'"{len(source.asked)}"'

    w.source.faults = [another] * 50
    assert (await fails(w, LARGE, Corrupt)).code == "content-changed"


async def test_another_range_than_asked_for_falls_back_to_one_stream(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [status(206, Content_Range=f"bytes 5-10/{len(SMALL)}")]
    await installs(w, SMALL)


async def test_a_redirect_is_followed_without_the_token(tmp_path: Path) -> None:
    source = Source({path_of(FILE): SMALL, "/blob": SMALL})

    def to_cdn(request: httpx.Request, source: Source) -> httpx.Response | None:
        return httpx.Response(302, headers={"Location": "https://cdn.example/blob?sig=secret"})

    source.faults = [to_cdn]
    w = world(tmp_path, token="hf_secret\n", source=source)
    await installs(w, SMALL)
    assert source.asked[0].headers["authorization"] == "Bearer hf_secret"
    assert source.asked[1].url.host == "cdn.example"
    assert "authorization" not in source.asked[1].headers


async def test_the_token_stays_with_its_host(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL}, token="hf_secret")
    await w.store.install(row({FILE: SMALL}, endpoint="https://elsewhere.example"), w.told)
    assert "authorization" not in w.source.asked[0].headers
    assert w.source.asked[0].url.host == "elsewhere.example"


async def test_an_expired_location_is_asked_for_again(tmp_path: Path) -> None:
    source = Source({path_of(FILE): LARGE, "/blob": LARGE})

    def hub(request: httpx.Request, source: Source) -> httpx.Response | None:
        if request.url.host == "hub.example":
            return httpx.Response(307, headers={"Location": f"https://cdn.example/blob?n={len(source.asked)}"})
        expired = request.url.params["n"] == "1" and len(source.asked) > 3
        return httpx.Response(403) if expired else None

    source.faults = [hub] * 50
    w = world(tmp_path, source=source, limits=Limits(concurrent_downloads=1))
    await installs(w, LARGE)
    assert sum(request.url.host == "hub.example" for request in source.asked) == 2
    assert all("secret" not in str(error) for error in w.progress)


async def test_an_interrupted_download_is_resumed_by_the_next_run(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: LARGE}, limits=Limits(concurrent_downloads=2))
    half = asyncio.Event()

    def slow(request: httpx.Request, source: Source) -> httpx.Response | None:
        return source.honest(request, cut=SEGMENT // 2, stall=True)

    w.source.faults = [slow, slow]
    running = asyncio.create_task(w.store.install(row({FILE: LARGE}), lambda done, *_: done >= SEGMENT and half.set()))
    await half.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert w.partials() == [".json", ".partial"]
    first = w.source.sent
    assert first == SEGMENT

    await w.store.close()
    again = world(tmp_path, {FILE: LARGE})
    seen = await again.store.observe()
    assert seen.status == "observed"
    assert (seen.installed, seen.partial_names) == ((), (NAME,))
    assert SEGMENT <= seen.partial_bytes < len(LARGE)
    await installs(again, LARGE)
    assert first + again.source.sent == len(LARGE)
    assert again.progress[0] == (SEGMENT, len(LARGE), "resumed")


async def test_bytes_that_the_state_does_not_vouch_for_are_fetched_again(tmp_path: Path) -> None:
    folder = tmp_path / "store" / ".localmodels" / "partial"
    with Partial(folder, Wanted(HUB, "c", sha(SMALL), Bytes(len(SMALL)), NAME)) as partial:
        partial.write(0, SMALL[:200_000])
        partial.checkpoint(Ranges([(0, 50_000)]))
    w = world(tmp_path, {FILE: SMALL})
    await installs(w, SMALL)
    assert w.source.asked[0].headers["range"] == "bytes=50000-299999"


@pytest.mark.parametrize("damage", [b"", b"{", b'{"ranges": [[5, 1]]}', b'{"ranges": [[0, 999999999]]}', b"[]"])
async def test_a_damaged_state_is_nothing(tmp_path: Path, damage: bytes) -> None:
    folder = tmp_path / "store" / ".localmodels" / "partial"
    wanted = Wanted(HUB, "c", sha(SMALL), Bytes(len(SMALL)), NAME)
    with Partial(folder, wanted) as partial:
        partial.checkpoint(Ranges([(0, 300_000)]))
        partial.state_path.write_bytes(damage)
    await installs(world(tmp_path, {FILE: SMALL}), SMALL)


async def test_a_damaged_partial_is_found_out_and_thrown_away(tmp_path: Path) -> None:
    folder = tmp_path / "store" / ".localmodels" / "partial"
    with Partial(folder, Wanted(HUB, "c", sha(SMALL), Bytes(len(SMALL)), NAME)) as partial:
        partial.write(0, b"x" * 1000)
        partial.checkpoint(Ranges([(0, 1000)]))
    w = world(tmp_path, {FILE: SMALL})
    await fails(w, SMALL, Corrupt)
    await installs(w, SMALL)


async def test_a_second_download_of_the_same_file_waits_its_turn(tmp_path: Path) -> None:
    folder = tmp_path / "store" / ".localmodels" / "partial"
    with Partial(folder, Wanted(HUB, "c", sha(SMALL), Bytes(len(SMALL)), NAME)):
        error = await fails(world(tmp_path, {FILE: SMALL}), SMALL, Unreachable)
    assert error.code == "download-locked"
    await installs(world(tmp_path, {FILE: SMALL}), SMALL)


async def test_no_room_is_said_before_a_byte_is_asked_for(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL}, reserve_bytes=2**60)
    error = await fails(w, SMALL, OutOfSpace)
    assert error.details["neededBytes"] == len(SMALL)
    assert w.source.asked == []


def test_room_counts_what_must_stay_free(tmp_path: Path) -> None:
    ensure_room(tmp_path, 1, 0)
    ensure_room(tmp_path, 0, 2**60)
    with pytest.raises(OutOfSpace, match="must stay free"):
        ensure_room(tmp_path, 1, 2**60)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot fill a disk without writing to it")
async def test_a_disk_that_another_program_fills_stops_it_before_it_is_full(tmp_path: Path) -> None:
    """Looked at while the bytes come, or do not come; what has arrived is kept and goes on later."""
    there = os.statvfs(tmp_path)
    free, step = there.f_bavail * there.f_frsize, 2**29
    w = world(tmp_path, {FILE: SMALL}, reserve_bytes=free - step)

    def filling(request: httpx.Request, source: Source) -> httpx.Response:
        with (tmp_path / "another-program").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 2 * step)
        return source.honest(request, cut=100_000, stall=True)

    w.source.faults = [filling]
    await fails(w, SMALL, OutOfSpace)
    (tmp_path / "another-program").unlink()
    await installs(w, SMALL)
    assert w.source.asked[-1].headers["range"] == "bytes=100000-299999"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_out_of_space(tmp_path: Path, number: int) -> None:
    with pytest.raises(OutOfSpace) as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert "goes on where it stopped" in (caught.value.hint or "")


@pytest.mark.parametrize("digest", ["", "abc", "../" + "0" * 61, "Z" * 64])
async def test_without_a_digest_nothing_is_fetched(tmp_path: Path, digest: str) -> None:
    with pytest.raises(Refused) as caught:
        Partial(tmp_path, Wanted(HUB, "c", digest, Bytes(1), NAME))
    assert caught.value.code == "not-installable"


async def test_the_rate_is_kept(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: LARGE}, limits=Limits(download_rate=Bytes(10_000_000)))
    await installs(w, LARGE)
    assert sum(w.clock.slept) == pytest.approx(len(LARGE) / 10_000_000, abs=0.3)


async def test_a_rate_limit_is_shared_and_does_not_save_up() -> None:
    clock = FixedClock()
    rate = RateLimit(1000, clock)
    await rate.take(1000)
    clock.forward(3600)
    start = clock.now()
    for _ in range(4):
        await rate.take(500)
    assert clock.now() - start >= timedelta(seconds=1.7)


@pytest.mark.parametrize("jump", [-365 * 86_400.0, 365 * 86_400.0])
async def test_a_rate_limit_does_not_wait_for_a_clock_that_was_set(jump: float) -> None:
    clock = FixedClock()
    rate = RateLimit(1000, clock)
    await rate.take(1000)
    clock.jump(jump)
    await rate.take(1000)
    assert sum(clock.slept) == pytest.approx(1.75)


def test_state_holds_no_secret(tmp_path: Path) -> None:
    wanted = Wanted(f"{HUB}/x?sig=secret", "c", sha(SMALL), Bytes(10), NAME)
    with Partial(tmp_path, wanted) as partial:
        state = json.loads(partial.state_path.read_text())
    assert state["url"] == f"{HUB}/x"


SPAN = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (min(pair), max(pair)))


@given(st.lists(SPAN, max_size=12), st.integers(60, 80))
def test_ranges_are_what_was_added(spans: list[tuple[int, int]], size: int) -> None:
    ranges = Ranges(spans)
    there = {at for start, end in spans for at in range(start, end)}
    assert {at for start, end in ranges.spans for at in range(start, end)} == there
    assert {at for start, end in ranges.missing(size) for at in range(start, end)} == set(range(size)) - there
    assert ranges.total == len(there)
    assert ranges.front == next(at for at in range(size + 1) if at not in there)


async def test_a_source_that_goes_silent_in_the_middle_is_given_up_within_a_bound(tmp_path: Path) -> None:
    """It sends some, then answers nothing any more: bounded patience since the last byte, and what came is kept."""
    w = world(tmp_path, {FILE: LARGE})
    begun = w.clock.now()

    def silent(request: httpx.Request, source: Source) -> httpx.Response:
        w.clock.forward(STALL_SECONDS)
        raise httpx.ReadTimeout("no answer")

    w.source.faults = [lambda request, source: source.honest(request, 2_000_000), *[silent] * 50]
    await fails(w, LARGE, Unreachable)
    patience = (w.clock.now() - begun).total_seconds()
    connections = 4
    assert STALL_SECONDS < patience < PATIENCE_SECONDS + connections * (STALL_SECONDS + 15)
    assert ".partial" in w.partials()
    w.source.faults = []
    sent = w.source.sent
    await installs(w, LARGE)
    assert w.source.sent - sent < len(LARGE), "it goes on where it stopped"


async def test_a_pause_that_the_source_asks_for_is_no_silence(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: SMALL})
    w.source.faults = [status(429, retry_after="50"), status(503, retry_after="50"), status(503, retry_after="50")]
    await installs(w, SMALL)
    assert all(50 <= wait <= 51 for wait in w.clock.slept)
