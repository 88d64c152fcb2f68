"""What can go wrong between us and a model server: the real server answers, and what reaches us is something else.

Every kind of ``bad_line`` that makes sense here, and lies: well-formed answers that are not true. An answer can be lost
after the server did what was asked, so that we do not know whether it did.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.campaign.bad_line import KINDS as OF_A_LINE
from tests.campaign.bad_line import Body, Fault, Heard

LISTS = {"ollama": ("models",), "llama-server": ("data",)}
PARTS = {
    "ollama": ("/api/tags", "/api/pull", "/api/delete", "/api/show", "/api/ps", "/api/version"),
    "llama-server": ("/models", "/models/sse", "/models/unload", "/props", "/slots"),
}
"""Where an answer can be bad, by the kind of server."""
_WITHOUT_ASKING = ("refused", "no answer", "broken before the answer", "a page instead", "JSON of another shape")

Lie = Callable[[list[Any]], list[Any]]


LIES: dict[str, Lie] = {
    "an empty list": lambda items: [],
    "half a list": lambda items: items[: len(items) // 2],
    "a list without its first": lambda items: items[1:],
    "the same thing twice": lambda items: items * 2,
    "a list with a stranger": lambda items: items + [_renamed(item) for item in items[:1]],
    "null for a list": lambda items: None,  # type: ignore[arg-type,return-value]
}
KINDS = (*(kind for kind in OF_A_LINE if "redirected" not in kind and kind != "slow"), *LIES)


def _renamed(item: dict[str, Any]) -> dict[str, Any]:
    names = {key: f"x{value}" for key, value in item.items() if key in ("id", "name", "model") and value}
    return {**item, **names}


@dataclass
class BadAnswers:
    """The way to one server; heals when its faults are used up, or when somebody says so."""

    server: str
    faults: list[Fault] = field(default_factory=list)
    met: list[str] = field(default_factory=list)

    def transport(self) -> httpx.AsyncBaseTransport:
        return _Way(self)

    def fault(self, request: httpx.Request) -> str | None:
        for fault in self.faults:
            if fault.fits(request.url.path):
                self.met.append(fault.kind)
                return fault.kind
        return None

    def lie(self, kind: str, body: bytes) -> bytes:
        """The answer with its lists made untrue; what has none stays as it is."""
        try:
            document = json.loads(body)
        except ValueError:
            return body
        for key in LISTS[self.server]:
            if isinstance(document, dict) and isinstance(document.get(key), list):
                document[key] = LIES[kind](document[key])
        return json.dumps(document).encode()


class _Way(httpx.AsyncBaseTransport):
    """One client's transport."""

    def __init__(self, answers: BadAnswers) -> None:
        self._answers, self._real = answers, httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kind = self._answers.fault(request)
        if kind is None:
            return await self._real.handle_async_request(request)
        if kind in _WITHOUT_ASKING or kind.startswith("status"):
            return await OF_A_LINE[kind](Heard(request, 200, {}, b""))
        if request.url.path.endswith("/sse"):  # a stream without an end
            return await OF_A_LINE["broken before the answer"](Heard(request, 200, {}, b""))
        return await self._changed(kind, request)

    async def _changed(self, kind: str, request: httpx.Request) -> httpx.Response:
        """The server did what it was asked; what it says of it is changed on the way."""
        honest = await self._real.handle_async_request(request)
        body = await honest.aread()
        await honest.aclose()
        kept = {key: value for key, value in honest.headers.items() if key.lower() == "content-type"}
        if kind in LIES:
            return httpx.Response(
                honest.status_code, headers=kept, stream=Body(self._answers.lie(kind, body)), request=request
            )
        return await OF_A_LINE[kind](Heard(request, honest.status_code, kept, body))

    async def aclose(self) -> None:
        await self._real.aclose()


def any_faults(server: str, dice: random.Random) -> list[Fault]:
    """One to three of any kind, anywhere on the way."""
    return [
        Fault(dice.choice(KINDS), dice.choice(PARTS[server]), dice.randrange(4), dice.choice([1, 2, 6]))
        for _ in range(dice.randint(1, 3))
    ]
