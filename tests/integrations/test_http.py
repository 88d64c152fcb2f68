from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.http import Http, MockTransport, public_url, translate
from reconciler.integrations.pauses import rate_limit, retry_after_seconds
from tests.integrations.catalog.world import START, StillClock

URL = "https://hub.example/api/models?token=hidden"


def every_class(*roots: type[Exception]) -> list[type[Exception]]:
    found: list[type[Exception]] = []
    for root in roots:
        found += [root, *every_class(*root.__subclasses__())]
    return found


FOREIGN = every_class(httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError)


def raised(kind: type[Exception], text: str = "secret-in-text") -> Exception:
    if kind is httpx.HTTPStatusError:
        request = httpx.Request("GET", URL)
        return httpx.HTTPStatusError(text, request=request, response=httpx.Response(500))
    if issubclass(kind, httpx.ResponseNotRead | httpx.RequestNotRead | httpx.StreamConsumed | httpx.StreamClosed):
        return kind()
    return kind(text)


def client(handler: Callable[[httpx.Request], httpx.Response], clock: StillClock | None = None, **more: object) -> Http:
    return Http(clock=clock or StillClock(), transport=MockTransport(handler), **more)  # type: ignore[arg-type]


def answers(*replies: httpx.Response | Exception) -> tuple[Callable[[httpx.Request], httpx.Response], list[str]]:
    left, asked = list(replies), []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    return answer, asked


def test_httpx_has_the_classes_we_map() -> None:
    names = {kind.__name__ for kind in FOREIGN}
    exported = {
        name
        for name in httpx.__all__
        if isinstance(getattr(httpx, name), type) and issubclass(getattr(httpx, name), Exception)
    }
    assert exported == names


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_every_httpx_exception_becomes_one_of_ours(kind: type[Exception]) -> None:
    ours = translate(raised(kind), URL)
    assert isinstance(ours, OutsideError)
    assert "hidden" not in ours.message
    assert "hidden" not in str(ours.details)


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
async def test_no_httpx_exception_leaves_a_request_or_a_stream(kind: type[Exception]) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise raised(kind)

    http = client(fail)
    with pytest.raises(OutsideError):
        await http.request("GET", URL, retries=0)
    with pytest.raises(OutsideError):
        async with http.stream("GET", URL):
            pass


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
async def test_no_httpx_exception_leaves_a_body_that_breaks(kind: type[Exception]) -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"half\n"
            raise raised(kind)

    http = client(lambda _: httpx.Response(200, stream=Broken()))
    async with http.stream("GET", URL) as stream:
        with pytest.raises(OutsideError):
            [chunk async for chunk in stream.chunks()]
    async with http.stream("GET", URL) as stream:
        with pytest.raises(OutsideError):
            [line async for line in stream.lines()]
    with pytest.raises(OutsideError):
        await http.request("GET", URL, retries=0)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (httpx.ConnectTimeout("x"), "timed-out", True),
        (httpx.ReadTimeout("x"), "timed-out", True),
        (httpx.ConnectError("refused"), "unreachable", True),
        (httpx.RemoteProtocolError("x"), "connection-lost", True),
        (httpx.ProxyError("x"), "unreachable", True),
        (httpx.DecodingError("x"), "bad-answer", True),
        (httpx.UnsupportedProtocol("x"), "bad-url", False),
        (httpx.LocalProtocolError("x"), "bad-request", False),
        (httpx.TooManyRedirects("x"), "too-many-redirects", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_failed_is_said_by_code(error: Exception, code: str, retryable: bool) -> None:
    ours = translate(error, URL)
    assert (ours.code, ours.retryable) == (code, retryable)


async def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    http = Http(clock=StillClock(), retries=0)
    for token in ("Bearer geheim\nX: y", "Bearer geheim-ü"):
        async with server(drip) as url:
            with pytest.raises(Refused) as caught:
                await http.request("GET", url, headers={"Authorization": token})
        chain: BaseException | None = caught.value
        while chain is not None:
            assert "geheim" not in f"{chain!s}{chain!r}{getattr(chain, 'object', '')}"
            chain = chain.__cause__ or chain.__context__
    await http.close()


async def test_an_unusable_url_is_refused_without_a_try() -> None:
    handler, asked = answers()
    http = client(handler)
    for url in ("http:///nowhere", "http://a\x00b/", "nothing"):
        with pytest.raises(Refused) as caught:
            await http.request("GET", url)
        assert caught.value.code == "bad-url"
        with pytest.raises(Refused):
            async with http.stream("GET", url):
                pass
    assert asked == []


async def test_statuses_that_say_later_are_tried_again_and_the_last_one_is_returned() -> None:
    clock = StillClock()
    handler, asked = answers(*(httpx.Response(503) for _ in range(3)))
    reply = await client(handler, clock, retries=2).request("GET", URL)
    assert reply.status == 503
    assert len(asked) == 3
    assert len(clock.slept) == 2
    assert all(0 < pause <= 8 for pause in clock.slept)


async def test_a_later_answer_that_is_good_is_the_answer() -> None:
    handler, _ = answers(httpx.Response(502), httpx.ConnectError("x"), httpx.Response(200, json={"a": 1}))
    reply = await client(handler).request("GET", URL)
    assert reply.json() == {"a": 1}


async def test_retry_after_in_seconds_is_waited_for() -> None:
    clock = StillClock()
    handler, _ = answers(httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(200))
    await client(handler, clock).request("GET", URL)
    assert clock.slept == [7.0]


async def test_retry_after_as_a_date_is_waited_for() -> None:
    clock = StillClock(datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC))
    later = httpx.Response(503, headers={"Retry-After": "Sun, 22 Nov 2026 12:00:09 GMT"})
    handler, _ = answers(later, httpx.Response(200))
    await client(handler, clock).request("GET", URL)
    assert clock.slept == [9.0]


async def test_a_spent_rate_limit_window_is_waited_for() -> None:
    clock = StillClock()
    spent = httpx.Response(
        429, headers={"RateLimit": '"api";r=0;t=12', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    )
    handler, _ = answers(spent, httpx.Response(200))
    await client(handler, clock).request("GET", URL)
    assert clock.slept == [12.0]


async def test_a_longer_wait_than_half_a_minute_is_the_callers_decision() -> None:
    clock = StillClock()
    handler, asked = answers(httpx.Response(429, headers={"Retry-After": "300"}))
    reply = await client(handler, clock).request("GET", URL)
    assert reply.status == 429
    assert retry_after_seconds(reply.headers) == 300.0
    assert (len(asked), clock.slept) == (1, [])


async def test_a_post_whose_answer_was_lost_is_not_sent_twice() -> None:
    handler, asked = answers(httpx.ReadError("gone"))
    with pytest.raises(Unreachable):
        await client(handler).request("POST", URL, json={})
    assert asked == ["POST"]


async def test_a_post_that_does_nothing_the_second_time_is_sent_again_when_its_answer_was_lost() -> None:
    handler, asked = answers(httpx.RemoteProtocolError("Server disconnected"), httpx.Response(200))
    assert (await client(handler).request("POST", URL, json={}, is_repeatable=True)).ok
    assert asked == ["POST"] * 2
    handler, asked = answers(httpx.ReadTimeout("silence"))
    with pytest.raises(Unreachable):
        await client(handler).request("POST", URL, json={}, is_repeatable=True)
    assert asked == ["POST"]


async def test_a_post_that_never_arrived_is_sent_again() -> None:
    handler, asked = answers(httpx.ConnectError("refused"), httpx.Response(429), httpx.Response(200))
    assert (await client(handler).request("POST", URL, json={})).ok
    assert asked == ["POST"] * 3


async def test_an_answer_longer_than_allowed_is_refused() -> None:
    http = client(lambda _: httpx.Response(200, content=b"x" * 1001))
    with pytest.raises(Corrupt):
        await http.request("GET", URL, max_bytes=1000)
    assert len((await http.request("GET", URL, max_bytes=1001)).body) == 1001


@pytest.mark.parametrize("body", [b"<html>", b"\xff\xfe", b"[" * 100_000, b""])
async def test_a_body_that_is_not_json_is_corrupt(body: bytes) -> None:
    reply = await client(lambda _: httpx.Response(200, content=body)).request("GET", URL)
    with pytest.raises(Corrupt) as caught:
        reply.json()
    assert caught.value.code == "bad-answer"
    assert "hidden" not in caught.value.message


async def test_who_asks_is_said() -> None:
    seen = {}

    def note(request: httpx.Request) -> httpx.Response:
        seen.update(request.headers)
        return httpx.Response(200)

    await client(note).request("GET", URL)
    assert seen["user-agent"].startswith("localmodels/")


async def test_a_redirect_to_another_host_loses_the_authorization() -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.host == "hub.example":
            return httpx.Response(302, headers={"Location": "https://cdn.example/file"})
        return httpx.Response(200)

    http = client(answer)
    await http.request("GET", URL, headers={"Authorization": "Bearer t"}, follow_redirects=True)
    async with http.stream("GET", URL, headers={"Authorization": "Bearer t"}, follow_redirects=True):
        pass
    assert seen == [("hub.example", "Bearer t"), ("cdn.example", None)] * 2


async def test_redirects_are_not_followed_unasked() -> None:
    http = client(lambda _: httpx.Response(307, headers={"Location": "/b"}))
    assert (await http.request("GET", URL)).status == 307


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_an_answer_that_repeats_the_secret_it_was_asked_with_is_heard_without_it(status: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        said = f"not with {request.headers['authorization']}"
        return httpx.Response(status, headers={"X-Error-Message": said}, json={"error": said})

    reply = await client(answer, retries=0).request("GET", URL, headers={"Authorization": "Bearer sesame-4711"})
    assert (reply.headers["x-error-message"], reply.json()) == ("not with Bearer ***", {"error": "not with Bearer ***"})


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("https://hub.example/a", "https://evil.example/a"),
        ("https://hub.example/a", "http://hub.example/a"),
        ("https://hub.example/a", "https://hub.example:8443/a"),
        ("https://hub.example/a", "//evil.example/a"),
        ("https://hub.example/a", "https://hub.example@evil.example/a"),
        ("https://huggingface.co/a", "https://huggingface.co.evil.example/a"),
    ],
)
async def test_within_host_no_other_host_is_asked(asked: str, leads: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(302, headers={"Location": leads}) if len(seen) == 1 else httpx.Response(200, json="lies")

    with pytest.raises(Refused) as caught:
        await client(answer).request("GET", asked, follow_redirects="within-host")
    assert caught.value.code == "bad-redirect"
    assert seen == [asked]


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("https://hub.example/a", "/renamed"),
        ("https://hub.example/a", "https://HUB.example/renamed"),
        ("http://hub.example/a", "https://hub.example/renamed"),
        ("https://hf.co/a", "https://huggingface.co/renamed"),
    ],
)
async def test_within_host_a_new_place_is_followed(asked: str, leads: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/a":
            return httpx.Response(307, headers={"Location": leads})
        return httpx.Response(200, json=request.headers.get("authorization"))

    http = client(answer)
    reply = await http.request("GET", asked, headers={"Authorization": "Bearer t"}, follow_redirects="within-host")
    assert (reply.status, reply.url.rpartition("/")[2]) == (200, "renamed")


async def test_within_host_a_circle_ends() -> None:
    http = client(lambda _: httpx.Response(302, headers={"Location": "/a"}))
    with pytest.raises(Refused) as caught:
        await http.request("GET", "https://hub.example/a", follow_redirects="within-host")
    assert caught.value.code == "too-many-redirects"


@contextlib.asynccontextmanager
async def server(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[str]:
    talking: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)  # type: ignore[misc]
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}/"
    finally:
        running.close()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking)


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(1000):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_server_that_drips_cannot_stretch_the_deadline() -> None:
    http = Http(clock=StillClock(), retries=0)
    async with server(drip) as url:
        with pytest.raises(Unreachable) as caught:
            await http.request("GET", url, timeout_seconds=0.1)
    assert caught.value.code == "timed-out"
    await http.close()


async def test_a_stream_may_take_long_as_long_as_bytes_come() -> None:
    http = Http(clock=StillClock(), timeout_seconds=0.05)
    async with server(drip) as url, http.stream("GET", url, idle_timeout_seconds=5) as stream:
        assert len(await stream.read(limit=10)) == 10
    await http.close()


async def test_a_stream_without_a_byte_ends() -> None:
    async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        await writer.drain()
        await asyncio.sleep(5)

    http = Http(clock=StillClock())
    async with server(stall) as url, http.stream("GET", url, idle_timeout_seconds=0.1) as stream:
        with pytest.raises(Unreachable):
            [chunk async for chunk in stream.chunks()]
    await http.close()


async def test_a_connection_nobody_accepts_is_unreachable() -> None:
    http = Http(clock=StillClock(), retries=1)
    async with server(drip) as url:
        pass
    with pytest.raises(Unreachable) as caught:
        await http.request("GET", url)
    assert caught.value.code == "unreachable"
    await http.close()


async def test_lines_are_decoded_and_blank_ones_left_out() -> None:
    http = client(lambda _: httpx.Response(200, content=b'{"a":1}\n\n{"b":2}'))
    async with http.stream("GET", URL) as stream:
        assert [json.loads(line) async for line in stream.lines()] == [{"a": 1}, {"b": 2}]


async def test_closing_twice_or_before_the_first_request_is_fine() -> None:
    http = client(lambda _: httpx.Response(200))
    await http.close()
    assert (await http.request("GET", URL)).ok
    await http.close()
    await http.close()


SCRIPT = """
import asyncio, sys
from reconciler.errors import ReconcilerError
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
async def main():
    http = Http(clock=SystemClock(), retries=0)
    try:
        print((await http.request("GET", sys.argv[1])).status)
    except ReconcilerError as error:
        print(error.code)
    await http.close()
asyncio.run(main())
"""


async def in_environment(url: str, **environment: str) -> str:
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SCRIPT, url],
        env={**os.environ, "NO_PROXY": "", "no_proxy": "", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return run.stdout.strip()


async def test_this_host_is_never_asked_through_a_proxy() -> None:
    async def fine(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async with server(fine) as url:
        assert await in_environment(url, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9") == "204"


async def test_unusable_network_settings_are_said_not_raised() -> None:
    settings = {"HTTPS_PROXY": "what://is:this", "https_proxy": "what://is:this"}
    assert await in_environment("https://hub.example/", **settings) == "bad-network-settings"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b"),
        ("https://me:pw@a.example:8/b", "https://a.example:8/b"),
        ("http://[::1", "http://[::1"),
        ("http://a@[::1", "<not a URL>"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert public_url(url) == shown


@given(st.text())
def test_any_header_value_gives_a_delay_or_none(text: str) -> None:
    for headers in ({"retry-after": text}, {"RateLimit": text}, {"Retry-After": text}):
        delay = retry_after_seconds(headers, START)
        assert delay is None or delay >= 0
        assert rate_limit(headers) is None or rate_limit(headers)[0] >= 0  # type: ignore[index]


def test_a_window_that_is_not_spent_asks_for_no_delay() -> None:
    assert retry_after_seconds({"RateLimit": '"api";r=3;t=10'}) is None


async def test_a_stream_whose_head_drips_for_ever_ends() -> None:
    async def drip_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100):
            writer.write(f"X-Wait-{number}: 1\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)

    http = Http(clock=StillClock(), timeout_seconds=0.1)
    async with server(drip_head) as url:
        with pytest.raises(Unreachable) as caught:
            async with http.stream("GET", url, idle_timeout_seconds=0.2):
                pass
    assert caught.value.code == "timed-out"
    await http.close()
