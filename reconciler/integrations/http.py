"""The one door to httpx: requests with deadlines, retries with jitter, and our errors instead of foreign ones.

Two clients of one shape: the real network, and ``httpx.MockTransport`` in tests (passed as ``transport``). No text of
an error holds a query, a password or a header: that is where secrets travel.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx

from reconciler import __version__
from reconciler.domain.names import HUB_HOSTS
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.pauses import REPEATABLE, backoff_seconds, wait_seconds
from reconciler.ports import Clock

MockTransport = httpx.MockTransport
Request = httpx.Request
Response = httpx.Response
ByteStream = httpx.ByteStream
"""A body for a double's ``Response(stream=…)``: one given as ``content`` counts as read and cannot be streamed."""

LARGEST_REPLY_BYTES = 64 * 2**20

_KEPT_OPEN_SECONDS = 2.0
"""An idle connection is not used again after it: llama-server and vLLM close theirs after 5 s, maybe as we ask.

Source: cpp-httplib ``CPPHTTPLIB_KEEPALIVE_TIMEOUT_SECOND``; uvicorn ``--timeout-keep-alive``.
"""
_FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError, TimeoutError, OSError)
_DIRECT: Mapping[str, httpx.AsyncBaseTransport | None] = {
    "all://localhost": None, "all://127.0.0.1": None, "all://[::1]": None,
}  # fmt: skip
_MOST_REDIRECTS = 20
_SHORTEST_SECRET = 8
"""A shorter key may be a word of any answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON, or ``Corrupt``."""
        try:
            return read_json(self.body)
        except (ValueError, RecursionError) as error:
            place = public_url(self.url)
            raise Corrupt(f"{place} did not answer with JSON", code="bad-answer", details={"url": place}) from error


@dataclass(slots=True)
class Stream:
    """An answer whose body is still arriving."""

    status: int
    headers: Mapping[str, str]
    url: str
    _response: httpx.Response = field(repr=False)

    async def chunks(self, size: int | None = None) -> AsyncIterator[bytes]:
        """Body bytes as they come. A pause longer than the idle timeout raises ``Unreachable``."""
        try:
            async for chunk in self._response.aiter_raw(size):
                yield chunk
        except _FOREIGN as error:
            raise translate(error, self.url) from error

    async def lines(self) -> AsyncIterator[str]:
        """Non-blank lines, decoded; an unterminated tail counts as a line."""
        try:
            async for line in self._response.aiter_lines():
                if line.strip():
                    yield line
        except _FOREIGN as error:
            raise translate(error, self.url) from error

    async def read(self, limit: int = 65_536) -> bytes:
        """At most ``limit`` bytes of the body, for an error text."""
        taken = bytearray()
        async for chunk in self.chunks():
            taken += chunk
            if len(taken) >= limit:
                break
        return bytes(taken[:limit])


class Http:
    """An HTTP client that raises only our errors.

    The connection pool is made at the first request, so that a run that asks nobody does not pay for it. Proxies come
    from the environment, but this host itself is never asked through one.

    Args:
        clock: sleeps between retries, and reads delays that are given as a date.
        transport: replaces the network in tests.
        timeout_seconds: for one whole small request; for a stream, the time to connect.
        retries: further tries after a refused connection, a timeout or a status that says "later". What may have been
            carried out already (``POST`` with a lost answer) is not repeated.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
        timeout_seconds: float = 8.0,
        retries: int = 2,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 32,
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._headers = {"User-Agent": f"localmodels/{__version__}", **(headers or {})}
        self._max_connections = max_connections
        self._opened: httpx.AsyncClient | None = None

    def _client(self) -> httpx.AsyncClient:
        if self._opened is None:
            try:
                self._opened = httpx.AsyncClient(
                    transport=self._transport,
                    headers=self._headers,
                    timeout=httpx.Timeout(self._timeout_seconds),
                    limits=httpx.Limits(max_connections=self._max_connections, keepalive_expiry=_KEPT_OPEN_SECONDS),
                    follow_redirects=False,
                    mounts=_DIRECT if self._transport is None else None,
                )
            except (ValueError, OSError, ImportError, httpx.InvalidURL) as error:
                raise Refused(
                    "the network settings of the environment cannot be used",
                    code="bad-network-settings",
                    hint="check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
                ) from error
        return self._opened

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        retries: int | None = None,
        follow_redirects: bool | Literal["within-host"] = False,
        max_bytes: int = LARGEST_REPLY_BYTES,
        is_repeatable: bool = False,
    ) -> Reply:
        """One small exchange, read whole; an ``Authorization`` header stays with the host of ``url``.

        Args:
            method: HTTP verb.
            url: absolute.
            json: body to send.
            headers: more headers for this request.
            timeout_seconds: for each try, from the first byte sent to the last one read.
            retries: further tries, instead of the client's own number.
            follow_redirects: at most 20; ``within-host`` refuses one that leads to another host, or away from TLS:
                for answers that no digest vouches for.
            max_bytes: a longer answer is refused instead of filling the memory.
            is_repeatable: twice is as good as once, whatever the verb: a connection that breaks is tried again.

        Raises:
            Unreachable: no answer after every retry. A status, even 5xx, is an answer and comes back as a ``Reply``;
                statuses that say "later" are retried first, after the delay the server asks for, if 30 s at most.
            Refused: the URL or a header cannot be sent at all; or ``bad-redirect``.
            Corrupt: the answer is longer than ``max_bytes``.
        """
        limit = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        last = self._retries if retries is None else retries
        request = self._built(method, url, json, headers, timeout=httpx.Timeout(limit))
        for attempt in range(last + 1):
            try:
                async with asyncio.timeout(limit):
                    answer: Reply | OutsideError = await self._exchange(request, follow_redirects, max_bytes)
            except _FOREIGN as error:
                answer = translate(error, url)
                repeatable = answer.retryable and _may_repeat(method, error, is_repeatable=is_repeatable)
            if isinstance(answer, Reply):
                wait = wait_seconds(method, answer.status, answer.headers, attempt, self._clock.now)
                if attempt == last or wait is None:
                    return answer
            elif attempt == last or not repeatable:
                raise answer
            else:
                wait = backoff_seconds(attempt)
            await self._clock.sleep(wait)
        raise AssertionError("the loop ends by return or with an error")

    async def _exchange(
        self, request: httpx.Request, follow_redirects: bool | Literal["within-host"], max_bytes: int
    ) -> Reply:
        response = await self._sent(request, follow_redirects)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_bytes:
                    place = public_url(str(request.url))
                    raise Corrupt(f"{place} answered with more than {max_bytes} bytes", code="bad-answer")
        finally:
            await response.aclose()
        return _without_echo(Reply(response.status_code, response.headers, bytes(body), str(response.url)), request)

    async def _sent(self, request: httpx.Request, follow_redirects: bool | Literal["within-host"]) -> httpx.Response:
        """The head of the answer, after the redirects that may be followed."""
        client = self._client()
        if follow_redirects != "within-host":
            return await client.send(request, stream=True, follow_redirects=follow_redirects)
        response = await client.send(request, stream=True, follow_redirects=False)
        for _ in range(_MOST_REDIRECTS):
            following = response.next_request
            if following is None:
                return response
            await response.aclose()
            if not _is_same_host(request.url, following.url):
                raise _elsewhere(str(request.url), str(following.url))
            response = await client.send(following, stream=True, follow_redirects=False)
        await response.aclose()
        raise httpx.TooManyRedirects("too many redirects", request=request)

    def _built(
        self,
        method: str,
        url: str,
        json: Any,
        headers: Mapping[str, str] | None,
        *,
        timeout: httpx.Timeout,
        content: AsyncIterable[bytes] | None = None,
    ) -> httpx.Request:
        client = self._client()
        try:
            request = client.build_request(method, url, json=json, content=content, headers=headers, timeout=timeout)
            if request.url.scheme in {"http", "https"} and request.url.host:
                return request
            failure = translate(httpx.InvalidURL(url), url)
        except (httpx.InvalidURL, UnicodeError) as error:  # a header that is not ASCII is a UnicodeError
            failure = translate(error, url)
        raise failure

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        idle_timeout_seconds: float = 30.0,
        follow_redirects: bool = False,
        content: AsyncIterable[bytes] | None = None,
    ) -> AsyncIterator[Stream]:
        """An answer that arrives in pieces; not retried here, because only the caller knows where to resume.

        Args:
            method: HTTP verb.
            url: absolute.
            json: body to send.
            headers: more headers for this request.
            idle_timeout_seconds: longest pause without a byte, either way.
            follow_redirects: at most 20.
            content: body to send as it is, instead of ``json``; where ``headers`` tell its length, not in chunks.

        Raises:
            Unreachable: no answer, or no byte for ``idle_timeout_seconds``.
            Refused: the URL or a header cannot be sent at all.
        """
        timeout = httpx.Timeout(idle_timeout_seconds, connect=self._timeout_seconds)
        request = self._built(method, url, json, headers, timeout=timeout, content=content)
        response = await self._opening(request, follow_redirects, self._timeout_seconds + idle_timeout_seconds)
        try:
            yield Stream(response.status_code, response.headers, str(response.url), response)
        finally:
            await response.aclose()

    async def _opening(self, request: httpx.Request, follow_redirects: bool, limit_seconds: float) -> httpx.Response:
        """The head of the answer: as a whole within the limit, so that one that drips does not count as progress."""
        try:
            async with asyncio.timeout(limit_seconds):
                return await self._client().send(request, stream=True, follow_redirects=follow_redirects)
        except _FOREIGN as error:
            failure = translate(error, str(request.url))
        raise failure


def public_url(url: str) -> str:
    """A URL as it may be shown: without query, fragment and password.

    >>> public_url("https://me:secret@hub.example/a?token=x")
    'https://hub.example/a'
    """
    bare = url.partition("?")[0].partition("#")[0]
    if "@" not in bare:
        return bare
    try:
        parts = urlsplit(bare)
    except ValueError:
        return "<not a URL>"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def translate(error: Exception, url: str) -> OutsideError:
    """Our error for a foreign one, which stays its cause: what failed, in words that hold no secret."""
    ours = _in_our_words(error, public_url(url))
    if not isinstance(error, httpx.LocalProtocolError | UnicodeError):  # these quote the header they could not send
        ours.__cause__ = error
    return ours


def _in_our_words(error: Exception, place: str) -> OutsideError:
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return Refused(f"not a usable URL: {place}", code="bad-url", details={"url": place})
    if isinstance(error, httpx.LocalProtocolError | UnicodeError):
        return Refused(f"the request to {place} cannot be sent", code="bad-request", details={"url": place})
    if isinstance(error, httpx.TooManyRedirects):
        return Refused(f"{place} redirects in circles", code="too-many-redirects", details={"url": place})
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Unreachable(f"{place} did not answer in time", code="timed-out", details={"url": place})
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"{place} cannot be reached: {error}", details={"url": place})
    if isinstance(error, httpx.ProxyError):
        return Unreachable(
            f"{place} cannot be reached: the proxy refuses",
            hint="check HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
            details={"url": place},
        )
    if isinstance(error, httpx.DecodingError):
        return Unreachable(f"{place} sent a body that cannot be decoded", code="bad-answer", details={"url": place})
    return Unreachable(
        f"the connection to {place} broke: {type(error).__name__}", code="connection-lost", details={"url": place}
    )


def _without_echo(reply: Reply, request: httpx.Request) -> Reply:
    """The answer without the secret it was asked with: servers quote what they were sent, and we quote servers."""
    secret = request.headers.get("Authorization", "").partition(" ")[2]
    if len(secret) < _SHORTEST_SECRET:
        return reply
    pairs = [(name, value.replace(secret, "***")) for name, value in reply.headers.items()]
    return replace(reply, headers=httpx.Headers(pairs), body=reply.body.replace(secret.encode(), b"***"))


def _is_same_host(asked: httpx.URL, leads: httpx.URL) -> bool:
    """The same server, or the same one with TLS; the Hub's own two hosts are one."""
    hosts = {asked.host.lower(), leads.host.lower()}
    if len(hosts) > 1 and not hosts <= set(HUB_HOSTS):
        return False
    ends = [(one.scheme, one.port) for one in (asked, leads)]
    return ends[0] == ends[1] or ends == [("http", None), ("https", None)]


def _elsewhere(asked: str, leads: str) -> Refused:
    place = public_url(asked)
    return Refused(
        f"{place} redirects to {public_url(leads)}, which is not followed: trust goes by the host that is asked",
        code="bad-redirect",
        hint="name that host in the file, if it is the one that is meant",
        details={"url": place},
    )


def _may_repeat(method: str, error: Exception, *, is_repeatable: bool) -> bool:
    """Whether the request was surely not carried out, or may be carried out twice."""
    if is_repeatable and isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        return True
    return method.upper() in REPEATABLE or isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    )
