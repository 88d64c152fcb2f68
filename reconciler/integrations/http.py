"""The one door to httpx: requests with deadlines, retries with jitter, and our errors instead of foreign ones.

Two clients of one shape: the real network, and ``httpx.MockTransport`` in tests (passed as ``transport``).
"""

from __future__ import annotations

import json as json_module
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from reconciler import __version__
from reconciler.errors import Corrupt, Refused, Unreachable
from reconciler.ports import Clock

Transport = httpx.AsyncBaseTransport
MockTransport = httpx.MockTransport
Request = httpx.Request
Response = httpx.Response

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


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
            return json_module.loads(self.body)
        except ValueError as error:
            raise Corrupt(
                f"{self.url} did not answer with JSON", code="bad-answer", details={"url": self.url}
            ) from error


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
        except httpx.HTTPError as error:
            raise _translate(error, self.url) from error

    async def lines(self) -> AsyncIterator[str]:
        """Non-blank lines, decoded; an unterminated tail counts as a line."""
        try:
            async for line in self._response.aiter_lines():
                if line.strip():
                    yield line
        except httpx.HTTPError as error:
            raise _translate(error, self.url) from error

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

    Args:
        clock: sleeps between retries.
        transport: replaces the network in tests.
        timeout_seconds: for one whole small request; for a stream, the longest pause without a byte.
        retries: further tries after a refused connection, a timeout or a status that says "later".
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
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._client = httpx.AsyncClient(
            transport=transport,
            headers={"User-Agent": f"localmodels/{__version__}", **(headers or {})},
            timeout=httpx.Timeout(timeout_seconds),
            limits=httpx.Limits(max_connections=max_connections),
            follow_redirects=False,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        retries: int | None = None,
        follow_redirects: bool = False,
    ) -> Reply:
        """One small exchange, read whole.

        Raises:
            Unreachable: no answer after every retry. A status, even 5xx, is an answer and comes back as a ``Reply``
            (statuses that say "later" are retried first, ``Retry-After`` honoured up to 30 s).
        """
        tries = 1 + (self._retries if retries is None else retries)
        last: httpx.HTTPError | None = None
        for attempt in range(tries):
            final = attempt == tries - 1
            try:
                response = await self._client.request(
                    method,
                    url,
                    json=json,
                    headers=headers,
                    timeout=self._timeout_seconds if timeout_seconds is None else timeout_seconds,
                    follow_redirects=follow_redirects,
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
                    raise Refused(f"not a usable URL: {url}", code="bad-url", details={"url": url}) from error
                last = error
                if final:
                    break
                await self._clock.sleep(_backoff_seconds(attempt))
                continue
            if response.status_code in _RETRIED_STATUS and not final:
                await self._clock.sleep(retry_after_seconds(response.headers) or _backoff_seconds(attempt))
                continue
            return Reply(response.status_code, response.headers, response.content, str(response.url))
        assert last is not None  # noqa: S101 - the loop ends by return or with an error
        raise _translate(last, url) from last

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
    ) -> AsyncIterator[Stream]:
        """An answer that arrives in pieces; not retried here, because only the caller knows where to resume.

        Raises:
            Unreachable: no answer, or no byte for ``idle_timeout_seconds``.
        """
        timeout = httpx.Timeout(idle_timeout_seconds, connect=self._timeout_seconds)
        request = self._client.build_request(method, url, json=json, headers=headers, timeout=timeout)
        try:
            response = await self._client.send(request, stream=True, follow_redirects=follow_redirects)
        except httpx.HTTPError as error:
            raise _translate(error, url) from error
        try:
            yield Stream(response.status_code, response.headers, str(response.url), response)
        finally:
            await response.aclose()


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The delay a server asks for, at most 30 s; None where it names none in seconds."""
    value = headers.get("retry-after", "")
    return min(30.0, float(value)) if value.strip().isdigit() else None


def _backoff_seconds(attempt: int) -> float:
    return float(min(8.0, 0.5 * 2**attempt) * (0.5 + random.random()))  # noqa: S311 - jitter, not a secret


def _translate(error: httpx.HTTPError, url: str) -> Unreachable:
    """Our error for a foreign one: what failed, in words; the URL without its query, which may hold a secret."""
    place = url.partition("?")[0]
    if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return Unreachable(f"{place} did not answer in time", code="timed-out", details={"url": place})
    if isinstance(error, httpx.ConnectError):
        return Unreachable(f"{place} cannot be reached: {error}", details={"url": place})
    return Unreachable(
        f"the connection to {place} broke: {error or type(error).__name__}",
        code="connection-lost",
        details={"url": place},
    )
