"""A running vLLM behind the ``Runtime`` port: what it serves is seen, adapters are loaded, models are a person's.

What it cannot promise (``docs/targets.md``): it serves the base that it was started with, so models are told as
commands; adapters that were loaded while it runs are lost when it stops, and come back with the next apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.adapter import HeldAdapter, ServedAdapter, digest_of_place
from reconciler.domain.desired import Target
from reconciler.domain.observation import Alias, Installed, ObservedTarget, TargetObservation
from reconciler.domain.plan import Row
from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.runtimes.adapter_damage import HeldFilesAsTheyStand
from reconciler.integrations.runtimes.advisory import Advisory
from reconciler.integrations.runtimes.digest_cache import DigestCache
from reconciler.integrations.runtimes.server import Server, unknown
from reconciler.integrations.runtimes.vllm_adapters import VllmAdapters, adapter_cards
from reconciler.integrations.runtimes.vllm_api import Card, Started, Use, VllmApi
from reconciler.integrations.runtimes.vllm_base import ServedBase, base_of
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

ORIGINAL_QUANT = "BF16"
"""How planning counts a publisher's own weights; a repository whose name says otherwise has no quant here."""
_QUANTISED = re.compile(r"(?i)(?:awq|gptq|gguf|bnb|fp8|fp4|int4|int8|w4a16|w8a8|w8a16|[48]-?bit|mxfp4|quant)")
_AT_START = (
    "adapters are given to this server when it is started: it runs without VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
)
_NO_LORA = "this server serves no adapters: it was started without --enable-lora"
_ELSEWHERE = "adapters are not loaded here: the server reads them from its own disk, which is on another host"


class Vllm:
    """One server of one base.

    Args:
        target: its ``endpoint``, which it must have.
        http: makes the client on first use; it is closed with this runtime.
        api_key: what the server, or a proxy before it, asks for; it goes into the requests' header and nowhere else.
        clock: measures waits for requests that run.
        cache_directory: where digests of our copies are remembered; None: each run reads them whole once.
    """

    def __init__(
        self,
        target: Target,
        *,
        http: Callable[[], Http],
        api_key: str | None = None,
        clock: Clock | None = None,
        cache_directory: Path | None = None,
    ) -> None:
        self._target = target
        endpoint = (target.endpoint or "").rstrip("/").removesuffix("/v1")
        self._server = Server(endpoint, http=http, key=api_key)
        self._api = VllmApi(self._server)
        self._by_hand = Advisory(target)
        self._adapters = VllmAdapters(
            target, self._api, clock or SystemClock(), HeldFilesAsTheyStand(DigestCache(cache_directory))
        )

    @property
    def target(self) -> Target:
        return self._target

    async def close(self) -> None:
        await self._server.close()

    # observing

    async def observe(self) -> TargetObservation:
        """Its base and the adapters it serves. Anything that is not a whole answer makes the target unknown."""
        try:
            await self._api.healthy()
            version = await self._api.version()
            cards = await self._api.models()
            takes = await self._api.takes_adapters()
            use = await self._api.use()
            started = await self._api.started()
            damaged = await self._adapters.damaged(adapter_cards(cards))
        except OutsideError as error:
            return unknown(self._target, error, program="vLLM")
        seen = self._observed(version, cards, use, _why_takes_none(use, started, takes=takes), started)
        return seen.model_copy(update={"adapters": tuple(_marked(one, damaged) for one in seen.adapters)})

    def _observed(
        self, version: str, cards: Sequence[Card], use: Use, takes_none: str, started: Started
    ) -> ObservedTarget:
        base, here = base_of(cards), self._target.is_local
        notes = (takes_none,) if takes_none else () if here else (_ELSEWHERE,)
        return ObservedTarget(
            name=self._target.name,
            key=self._target.key,
            installed=(_installed(base, in_use=use.busy),),
            aliases=tuple(Alias(name=name, model=base.name, loaded=use.busy) for name in base.other_names),
            adapters=tuple(_served(card, base, use) for card in adapter_cards(cards)),
            takes_adapters=None if notes else "peft",
            max_adapter_rank=started.max_rank,
            version=version,
            notes=notes,
        )

    # models: by hand

    async def install(self, row: Row, progress: Progress) -> Installed:
        """Always refused, with the command that serves the model.

        Raises:
            Refused: ``no-api``.
        """
        return await self._by_hand.install(row, progress)

    async def remove(self, name: str) -> Bytes:
        """Always refused: the files are in the Hub cache of whoever started the server."""
        return await self._by_hand.remove(name)

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        """Always refused: the server does not tell what its weights are."""
        return await self._by_hand.digest(name, progress)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        return await self._by_hand.clean_partials(names)

    # adapters

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        """As the port says; what was loaded is lost when the server stops."""
        base, card = await self._adapters.attach(adapter)
        return _served(card, base, await self._api.use())

    async def detach(self, name: str, base: str) -> None:  # noqa: ARG002 - the port's; a server has one base
        """As the port says. One that the server is started with is there again after its next start."""
        await self._adapters.detach(name)

    async def end_tries(self, name: str) -> None:
        """Unload what an attach that was cut off left under a passing name."""
        await self._adapters.end_tries(name)


def _why_takes_none(use: Use, started: Started, *, takes: bool) -> str:
    """Why it cannot be given adapters while it runs; empty: it can.

    Args:
        takes: it has a route for that.
    """
    if started.lora is False or (started.lora is None and use.lora is False):
        return _NO_LORA
    return "" if takes else _AT_START


def _served(card: Card, base: ServedBase, use: Use) -> ServedAdapter:
    return ServedAdapter(
        name=card.name,
        base=base.name if base.is_called(card.parent or "") else None,
        path=card.root,
        digest=digest_of_place(card.root),
        loaded=use.is_of(card.name),
    )


def _marked(one: ServedAdapter, damaged: frozenset[str]) -> ServedAdapter:
    return one.model_copy(update={"digest": None, "damaged": True}) if one.path in damaged else one


def _installed(base: ServedBase, *, in_use: bool) -> Installed:
    """The base, whose weights are nobody's business here: they take no room of any budget."""
    return Installed(
        name=base.name,
        bytes=Bytes(0),
        repo=base.repo,
        quant=ORIGINAL_QUANT if base.repo and not _QUANTISED.search(base.repo) else None,
        loaded=in_use,
        resident=True,
        model_context=base.context,
        served_from=base.root if base.repo is None else None,
        served_as=base.names if base.names != (base.root,) else (),
    )
