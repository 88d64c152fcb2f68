"""One router, asked and told: what looking, installing, removing and naming all need of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reconciler.domain.desired import Target
from reconciler.domain.desired_rules import is_loopback
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.runtimes.llama_server_api import DEFAULT_ENDPOINT, Listed, LlamaServerApi
from reconciler.integrations.runtimes.server import Server
from reconciler.ports import Clock

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

_STOP_SECONDS = 30.0
"""Longest wait until a model is unloaded; the router cuts it off after its own ten."""
_LOAD_SECONDS = 600.0
_POLL_SECONDS = 0.1


class Router:
    """The router of one target.

    Args:
        target: its ``endpoint``.
        http: makes the client on first use; it is closed with this.
        clock: sleeps between looks.
        api_key: what the router asks for; None sends none.
    """

    def __init__(self, target: Target, *, http: Callable[[], Http], clock: Clock, api_key: str | None) -> None:
        self.name = target.name
        self._server = Server(target.endpoint or DEFAULT_ENDPOINT, http=http, key=api_key)
        self._clock = clock
        self.api = LlamaServerApi(self._server)

    def process(self, item: Listed) -> LlamaServerApi | None:
        """A running model's own process; None where it cannot be asked from here. It listens on its own host only.

        A key is the router's alone: a process that asks for one is not asked.
        """
        if item.port is None or not item.is_running or not is_loopback(self._server.url):
            return None
        return LlamaServerApi(self._server.beside(f"http://127.0.0.1:{item.port}"))

    async def close(self) -> None:
        await self._server.close()

    async def find(self, name: str, *, reload: bool = True) -> Listed | None:
        """A listed name; ghosts of a preset whose files are gone are listed too."""
        listed = await self.api.models(reload=reload)
        return next((item for item in listed if item.name == name), None)

    async def busy(self, listed: Sequence[Listed]) -> frozenset[str]:
        """Names of models that answer somebody now, or are just being loaded for somebody."""
        running = [item for item in listed if item.is_running]
        found = await asyncio.gather(*(self.is_busy(item) for item in running))
        return frozenset(item.name for item, busy in zip(running, found, strict=True) if busy)

    async def is_busy(self, item: Listed) -> bool:
        if item.status == "loading":
            return True
        if item.status == "sleeping":  # it let go of its memory because nobody asked
            return False
        try:
            return bool(await self.api.busy_slots(item.name))
        except Refused:  # it does not tell: loaded counts as in use
            return True

    async def stop(self, item: Listed) -> None:
        """Unload an idle model and wait until it is; deleting it while it runs would cut off whoever comes now.

        Raises:
            Refused: ``in-use``. Unreachable: it does not unload.
        """
        if not item.is_running:
            return
        if await self.is_busy(item):
            raise Refused(
                f"{item.name} is serving a request on {self.name}",
                code="in-use",
                hint="wait until it has answered; an idle model is unloaded by itself",
            )
        await self.api.unload(item.name)
        for _ in range(int(_STOP_SECONDS / _POLL_SECONDS)):
            now = await self.find(item.name, reload=False)
            if now is None or not now.is_running:
                return
            await self._clock.sleep(_POLL_SECONDS)
        raise Unreachable(f"{item.name} does not unload on {self.name}")

    async def load(self, name: str) -> None:
        """Load it, so that the first who asks need not wait.

        Raises:
            Refused: it does not run. Unreachable: it takes too long. It stays installed either way.
        """
        await self.api.load(name)
        for _ in range(int(_LOAD_SECONDS / _POLL_SECONDS)):
            item = await self.find(name, reload=False)
            if item is not None and item.status in ("loaded", "sleeping"):
                return
            if item is None or item.failed:
                code = f" (exit code {item.exit_code})" if item else ""
                raise Refused(f"{name} does not load on {self.name}{code}", hint="the router's log says why")
            await self._clock.sleep(_POLL_SECONDS)
        raise Unreachable(f"{name} is still not loaded on {self.name}", code="timed-out")
