"""One running server, as every runtime behind HTTP holds it: where it is, its key, and a client made on first use.

A runtime is its own calls over a ``Server`` (``ollama_api``, ``llama_server_api``), read with ``answers``; what a look
could not read whole is ``unknown``, and what a step did is believed only where a look is ``known`` to show it.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget, TargetObservation, UnknownTarget
from reconciler.errors import OutsideError, Refused, Unreachable

if TYPE_CHECKING:
    from reconciler.integrations.http import Http, Reply, Stream


class Server:
    """Where requests go. No request follows a redirect, so that a key goes nowhere else.

    Args:
        url: base URL.
        http: makes the client when the first request is made; it is closed with this.
        key: what the server, or a proxy before it, asks for: sent as a bearer; None sends none.
    """

    def __init__(self, url: str, *, http: Callable[[], Http], key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._make_http = http
        self._key = (key or "").strip()
        self._http: Http | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        timeout_seconds: float | None = None,
        retries: int = 0,
        is_repeatable: bool = False,
    ) -> Reply:
        """One small exchange, whatever its status.

        Raises:
            Unreachable: no answer. Refused: the key has characters that no key has.
        """
        return await self._client().request(
            method,
            self.url + path,
            json=json,
            headers=self._headers(),
            timeout_seconds=timeout_seconds,
            retries=retries,
            is_repeatable=is_repeatable,
        )

    def stream(
        self,
        method: str,
        path: str,
        *,
        idle_timeout_seconds: float,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        content: AsyncIterable[bytes] | None = None,
    ) -> AbstractAsyncContextManager[Stream]:
        """An answer that arrives in pieces; raises as ``ask``."""
        return self._client().stream(
            method,
            self.url + path,
            json=json,
            headers={**self._headers(), **(headers or {})},
            idle_timeout_seconds=idle_timeout_seconds,
            content=content,
        )

    def beside(self, url: str) -> Server:
        """Another process of the same host, asked with the same client and without the key, which is this one's.

        Closing it closes nothing: the client goes with this one.
        """
        return _Beside(url, http=self._client)

    def wants_key(self) -> Refused:
        """What to say where it answered 401 or 403."""
        return Refused(
            f"{self.url} {'does not accept the API key' if self._key else 'wants an API key'}",
            code="unauthorised",
            hint="the key that apiKeyFrom of the target names is not the server's"
            if self._key
            else "say where the key is: `apiKeyFrom: {env: VARIABLE}` (a set one) or `{file: PATH}` at the target",
        )

    def without_key(self, body: bytes) -> bytes:
        """What it says without the key, which a clumsy proxy may repeat; of a short key, no longer a document."""
        return body.replace(self._key.encode(), "…".encode()) if self._key else body

    async def close(self) -> None:
        """Let the client go; the next request makes another one."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    def _client(self) -> Http:
        if self._http is None:
            self._http = self._make_http()
        return self._http

    def _headers(self) -> dict[str, str]:
        if any(not "!" <= letter <= "~" for letter in self._key):
            raise Refused(
                "the API key has characters that no key has",
                code="unauthorised",
                hint="the variable or file of apiKeyFrom must hold the key alone",
            )
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}


def unknown(target: Target, error: OutsideError, *, program: str) -> UnknownTarget:
    """What a look is that was not answered whole.

    Args:
        target: the one that was looked at.
        error: what was answered instead.
        program: what should be running there, as a person calls it.
    """
    return UnknownTarget(
        name=target.name,
        key=target.key,
        reason=error.message,
        code=error.code,
        hint=error.hint or f"is {program} running? See `endpoint` of target {target.name}",
    )


def known(found: TargetObservation) -> ObservedTarget:
    """What a look saw, for a step that has to see what it did.

    Raises:
        Unreachable: it saw nothing, for the reason that it gives.
    """
    if isinstance(found, UnknownTarget):
        raise Unreachable(found.reason, code=found.code, hint=found.hint)
    return found


class _Beside(Server):
    """A process beside a server: it asks with that one's client, which it neither keeps nor closes."""

    def _client(self) -> Http:
        return self._make_http()
