"""What can go wrong between us and a Hub, one kind a name: a transport that lets a seeded schedule of it happen."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from tests.doubles.hub import HubDouble

SOCKET_SECONDS = 0.2


async def _until_the_socket_gives_up() -> None:
    """A real transport has a read timeout of its own."""
    await asyncio.sleep(SOCKET_SECONDS)
    raise httpx.ReadTimeout("nothing came")


class Body(httpx.AsyncByteStream):
    """Bytes in pieces; then a pause that never ends, or a broken connection, or nothing."""

    def __init__(self, content: bytes, *, then: str = "", pause_seconds: float = 0.0) -> None:
        self._content, self._then, self._pause = content, then, pause_seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 8192):
            await asyncio.sleep(self._pause)
            yield self._content[start : start + 8192]
        if self._then == "stall":
            await _until_the_socket_gives_up()
        if self._then == "break":
            raise httpx.ReadError("connection reset")


@dataclass(frozen=True)
class Heard:
    """What the Hub would have answered."""

    request: httpx.Request
    status: int
    headers: dict[str, str]
    body: bytes

    def answer(self, body: bytes | None = None, *, status: int | None = None, **how: object) -> httpx.Response:
        headers = {key: value for key, value in self.headers.items() if key.lower() != "content-length"}
        stream = Body(self.body if body is None else body, **how)  # type: ignore[arg-type]
        return httpx.Response(status or self.status, headers=headers, stream=stream, request=self.request)

    def plain(self, status: int, body: bytes = b"{}", **headers: str) -> httpx.Response:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return httpx.Response(status, headers=named, stream=Body(body), request=self.request)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :] if content else b"?"


async def _raise(error: Exception) -> httpx.Response:
    raise error


async def _hang(heard: Heard) -> httpx.Response:
    await _until_the_socket_gives_up()
    return heard.answer()


async def _now(response: httpx.Response) -> httpx.Response:
    return response


def _longer(heard: Heard) -> httpx.Response:
    told = heard.headers.get("Content-Range", "bytes 0-0/1").partition("/")
    headers = {**heard.headers, "Content-Range": f"{told[0]}/{len(heard.body) + 7}", "X-Linked-Size": "7"}
    return Heard(heard.request, heard.status, headers, heard.body).answer(heard.body + b"1234567")


def _other_etag(heard: Heard) -> httpx.Response:
    headers = {**heard.headers, "ETag": '"moved"', "X-Linked-Etag": f'"{"f" * 64}"', "X-Repo-Commit": "f" * 40}
    return Heard(heard.request, heard.status, headers, heard.body).answer()


Answers = Callable[[Heard], Awaitable[httpx.Response]]
KINDS: dict[str, Answers] = {
    "refused": lambda _: _raise(httpx.ConnectError("connection refused")),
    "no answer": _hang,
    "broken before the answer": lambda _: _raise(httpx.RemoteProtocolError("server disconnected")),
    "broken off": lambda it: _now(it.answer(it.body[: len(it.body) // 2], then="break")),
    "cut short": lambda it: _now(it.answer(it.body[: len(it.body) // 2])),
    "stalled": lambda it: _now(it.answer(it.body[: len(it.body) // 2], then="stall")),
    "slow": lambda it: _now(it.answer(pause_seconds=0.002)),
    "sent twice": lambda it: _now(it.answer(it.body * 2)),
    "wrong bytes": lambda it: _now(it.answer(_flipped(it.body))),
    "wrong length": lambda it: _now(_longer(it)),
    "nothing in it": lambda it: _now(it.answer(b"")),
    "a page instead": lambda it: _now(it.plain(200, b"<html>captive portal</html>", content_type="text/html")),
    "JSON of another shape": lambda it: _now(it.plain(200, json.dumps([{"id": 7, "siblings": "no"}]).encode())),
    "tag moved": lambda it: _now(_other_etag(it)),
    "redirected elsewhere": lambda it: _now(it.plain(302, location="https://evil.example/model.gguf")),
    "redirected in circles": lambda it: _now(it.plain(302, location=str(it.request.url))),
    "redirected to a file": lambda it: _now(it.plain(302, location="file:///etc/passwd")),
    **{
        f"status {status}": lambda it, status=status: _now(it.plain(status, retry_after="1"))  # type: ignore[misc]
        for status in (401, 403, 404, 410, 416, 429, 500, 502, 503)
    },
}


@dataclass
class Fault:
    """One kind, from the ``after``-th request on that fits, ``times`` times."""

    kind: str
    part: str = ""
    after: int = 0
    times: int = 1

    def fits(self, url: str) -> bool:
        if self.part not in url or not self.times:
            return False
        self.after -= 1
        if self.after >= 0:
            return False
        self.times -= 1
        return True


@dataclass
class BadLine:
    """The way to a Hub; heals when its faults are used up, or when somebody says so."""

    hub: HubDouble
    faults: list[Fault] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    evil: int = 0
    """How often a host was asked that nobody named."""

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._respond)

    async def _respond(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):  # as a real transport has it
            raise httpx.UnsupportedProtocol(f"no such protocol: {request.url.scheme}")
        if request.url.host == "evil.example":
            self.evil += 1
            return httpx.Response(200, stream=Body(b"evil" * 1000), request=request)
        honest = self.hub._respond(request)
        heard = Heard(request, honest.status_code, dict(honest.headers), b"".join(honest.stream))  # type: ignore[arg-type]
        for fault in self.faults:
            if fault.fits(str(request.url)):
                self.met.append(fault.kind)
                return await KINDS[fault.kind](heard)
        return heard.answer()


def any_faults(dice: random.Random) -> list[Fault]:
    """One to three of any kind, anywhere on the way."""
    return [
        Fault(
            dice.choice(list(KINDS)),
            dice.choice(["", "/api/", "cdn.", "resolve"]),
            dice.randrange(4),
            dice.choice([1, 2, 99]),
        )
        for _ in range(dice.randint(1, 3))
    ]
