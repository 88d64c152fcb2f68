"""LoRA adapters of a running vLLM: loaded under a passing name, asked once, then switched to their own name.

A name is bound to a path when it is loaded. To bind it anew the old one is unloaded first, which leaves a gap of one
load, and is loaded again where the new one fails. A request that began before ends with the weights it began with,
which the server may have to read once more: where their directory has gone by then, the whole server stops. So nothing
is unloaded while it answers somebody, and nobody is told that it is done before the last one has his answer.
A copy that was damaged is made again at the same place before this is asked; its name is bound to it anew, for what the
engine holds may be the damaged one. Where the copy was only gone, the engine holds the right one: nothing is unloaded.
Run against vLLM 0.32.0, read against 0.8 and 0.18 (``entrypoints/openai/models/serving.py``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress

from reconciler.domain.adapter import HeldAdapter
from reconciler.domain.desired import Target
from reconciler.errors import OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.adapter_damage import HeldFilesAsTheyStand
from reconciler.integrations.runtimes.vllm_api import Card, Said, VllmApi
from reconciler.integrations.runtimes.vllm_base import ServedBase, base_of, is_repository
from reconciler.integrations.runtimes.vllm_launch import launch_command
from reconciler.integrations.to_its_end import to_its_end
from reconciler.ports import Clock

_SETTLE_SECONDS = 2.0
"""The server counts a request as running for a moment after it was answered."""
_LAST_SECONDS = 30.0
"""Longest wait for those who were answered by what was unloaded."""
_ASK_AGAIN_SECONDS = 0.25
_PASSING = re.compile(r"(?P<name>.+)@[0-9a-f]{8}")


def passing_name(name: str, digest: str) -> str:
    """What an adapter is called until it has answered; nobody else calls one so.

    >>> passing_name("sql", "0123456789abcdef")
    'sql@01234567'
    """
    return f"{name}@{digest[:8]}"


def adapter_cards(cards: Sequence[Card]) -> tuple[Card, ...]:
    """Adapters that are served, by name; what a change that was cut off left under a passing name is none."""
    found = (card for card in cards if card.parent is not None and not _PASSING.fullmatch(card.name))
    return tuple(sorted(found, key=lambda card: card.name))


class VllmAdapters:
    """The ``ServesAdapters`` port of one server."""

    def __init__(self, target: Target, api: VllmApi, clock: Clock, files: HeldFilesAsTheyStand) -> None:
        self._target = target
        self._api = api
        self._clock = clock
        self._files = files
        self._read_damaged: frozenset[str] = frozenset()
        """Copies that the engine may have read while they were damaged, whatever is there by now."""

    async def damaged(self, cards: Sequence[Card]) -> frozenset[str]:
        """Places of our store that adapters are read from here, and that are gone or not what they should be."""
        if not self._target.is_local:
            return frozenset()
        found = await self._files.damaged(frozenset(card.root for card in cards))
        self._read_damaged |= found - await self._files.gone(found)
        return found

    async def attach(self, adapter: HeldAdapter) -> tuple[ServedBase, Card]:
        """Serve it under its name; the base and the card that a look then sees.

        Raises:
            Refused: as the port says; ``not-found``: the server finds nothing at the path. ``in-use``: what stands
                under the name answers somebody.
        """
        cards = await self._api.models()
        base = self._base(adapter, cards)
        before = _find(cards, adapter.name)
        is_bound = before is not None and _is(before, adapter, base) and adapter.path not in self._read_damaged
        if not is_bound:
            await self._check_can(adapter, base)
        await self._sweep(adapter.name, cards)
        if not is_bound:
            await self._try(adapter, base, before)
            await to_its_end(self._switched(adapter, base, before))
            self._read_damaged -= {adapter.path}
            if before is not None:
                await self._quiet(adapter.name, _LAST_SECONDS)
        card = _find(await self._api.models(), adapter.name)
        if card is None:
            raise Unreachable(f"{adapter.name} was loaded, and {self._target.name} does not list it any more")
        return base, card

    async def detach(self, name: str) -> None:
        """Unload it, and wait for its last answers; nothing where it is gone.

        Raises:
            Refused: as the port says. Unreachable: it is unloaded, and answers somebody still.
        """
        cards = await self._api.models()
        await self._sweep(name, cards)
        card = _find(cards, name)
        if card is not None:
            await self._unload(card)
        if not await self._quiet(name, _LAST_SECONDS):
            raise Unreachable(f"{name} is not served any more, and still answers somebody on {self._target.name}")

    async def _unload(self, card: Card) -> None:
        if card.parent is None:
            raise self._conflict(card.name)
        await self._check_idle(card.name)
        said = await self._unloaded(card.name)
        if not said.ok and not said.is_unknown:
            raise await self._not_unloaded(card.name, said)
        if _find(await self._api.models(), card.name) is not None:
            raise Unreachable(f"{card.name} was unloaded, and {self._target.name} lists it still")

    async def end_tries(self, name: str) -> None:
        """Unload what a change of this name left when it was cut off."""
        await self._sweep(name, await self._api.models())

    # before

    def _base(self, adapter: HeldAdapter, cards: Sequence[Card]) -> ServedBase:
        base = base_of(cards)
        if adapter.name in (base.name, *base.names):
            raise self._conflict(adapter.name)
        if not base.is_called(adapter.base):
            raise Refused(
                f"{self._target.name} serves {base.name}, not {adapter.base}",
                code="not-found",
                hint=launch_command(adapter, adapter.base),
            )
        return base

    def _conflict(self, name: str) -> Refused:
        return Refused(
            f"{name} is the base itself on {self._target.name}",
            code="unmanaged-conflict",
            hint="give the adapter another name",
        )

    async def _check_can(self, adapter: HeldAdapter, base: ServedBase) -> None:
        if not self._target.is_local and not is_repository(adapter.path):
            raise Refused(
                f"{self._target.name} is on another host, and reads adapters from its own disk",
                code="no-api",
                hint=f"copy {adapter.path} there and start the server with it: {await self._launch(adapter, base)}",
            )
        if adapter.scale != 1.0:
            raise Refused(
                f"{self._target.name} serves adapters as they are, not at scale {adapter.scale:g}",
                code="no-api",
                hint="leave `scale` out, or serve it with a llama-server",
            )
        if not await self._api.takes_adapters():
            raise await self._no_api(adapter, base, "takes no adapters while it runs")

    async def _no_api(self, adapter: HeldAdapter, base: ServedBase, why: str) -> Refused:
        command = await self._launch(adapter, base)
        return Refused(
            f"{self._target.name} {why}",
            code="no-api",
            hint=f"start it again: {command}",
            details={"target": self._target.name, "name": adapter.name, "command": command},
        )

    async def _launch(self, adapter: HeldAdapter, base: ServedBase) -> str:
        """The command whose server takes this adapter, and serves it from its start beside what it serves now."""
        served = adapter_cards(await self._api.models())
        return await asyncio.to_thread(launch_command, adapter, base.root, served, base.names)

    # loading

    async def _sweep(self, name: str, cards: Sequence[Card]) -> None:
        """Unload what a change of this name left when it was cut off."""
        for card in cards:
            left = _PASSING.fullmatch(card.name)
            if left is not None and left["name"] == name and card.parent is not None:
                await self._unloaded(card.name)

    async def _try(self, adapter: HeldAdapter, base: ServedBase, before: Card | None) -> None:
        """Load it under its passing name, and have it answer; there it stays, unless it is refused."""
        passing = passing_name(adapter.name, adapter.digest)
        try:
            await self._tried(passing, adapter, base)
            if before is not None:
                await self._check_idle(adapter.name)
        except BaseException:
            await asyncio.shield(self._dropped(passing))
            raise

    async def _tried(self, passing: str, adapter: HeldAdapter, base: ServedBase) -> None:
        said = await self._api.load(passing, adapter.path)
        said = await self._api.answers(passing) if said.ok else said
        if not said.ok:
            raise await self._refusal(said, adapter, base)

    async def _dropped(self, passing: str) -> None:
        """Best effort: what stays is swept by the next change of the name."""
        with suppress(OutsideError):
            await self._unloaded(passing)

    async def _unloaded(self, name: str) -> Said:
        """Unload a name. One that the engine's cache has dropped cannot be: it is asked something first.

        Source: vLLM 0.18, ``unload_lora_adapter``: 500 "Failed to remove lora adapter … from the engine".
        """
        said = await self._api.unload(name)
        if not said.ok and "failed to remove" in said.words.lower():
            await self._api.answers(name)
            said = await self._api.unload(name)
        return said

    async def _switched(self, adapter: HeldAdapter, base: ServedBase, before: Card | None) -> None:
        """Bind the name to the new path. What the server lists afterwards counts, whatever it said."""
        failure: OutsideError | None = None
        try:
            await self._bind(adapter, base, before)
        except OutsideError as error:
            failure = error
        finally:
            await self._dropped(passing_name(adapter.name, adapter.digest))
        now = _find(await self._api.models(), adapter.name)
        if now is None or not _is(now, adapter, base):
            raise failure or Unreachable(f"{adapter.name} was loaded, and {self._target.name} lists another path")
        if before is not None:
            with suppress(OutsideError):
                await self._api.forget_prefixes()

    async def _bind(self, adapter: HeldAdapter, base: ServedBase, before: Card | None) -> None:
        if before is None:
            return await self._loaded(adapter, base)
        try:
            gone = await self._unloaded(adapter.name)
            if not gone.ok and not gone.is_unknown:
                raise await self._not_unloaded(adapter.name, gone)
            return await self._loaded(adapter, base)
        except OutsideError:
            with suppress(OutsideError):
                await self._api.load(adapter.name, before.root)
            raise

    async def _loaded(self, adapter: HeldAdapter, base: ServedBase) -> None:
        said = await self._api.load(adapter.name, adapter.path)
        if not said.ok:
            raise await self._refusal(said, adapter, base)

    # who is answered

    async def _check_idle(self, name: str) -> None:
        if not await self._quiet(name, _SETTLE_SECONDS):
            raise Refused(
                f"{name} answers somebody on {self._target.name}",
                code="in-use",
                hint="the next apply changes it, when nobody is answered",
            )

    async def _quiet(self, name: str, seconds: float) -> bool:
        """Wait until nobody is answered by an adapter of this name; whether that is so, or cannot be told."""
        until = self._clock.elapsed() + seconds
        while (use := await self._api.use()).tells and use.is_of(name):
            if self._clock.elapsed() >= until:
                return False
            await self._clock.sleep(_ASK_AGAIN_SECONDS)
        return True

    # refused

    async def _refusal(self, said: Said, adapter: HeldAdapter, base: ServedBase) -> OutsideError:
        """What a step that was refused means."""
        words = said.words.lower()
        if said.no_route or ("not enabled" in words and "lora" in words):
            return await self._no_api(adapter, base, "takes no adapters as it was started")
        if "max_lora_rank" in words or "max-lora-rank" in words:
            return await self._no_api(adapter, base, f"has no room for the rank of {adapter.name} ({said.words})")
        if said.is_unknown and "no adapter found" in words:
            return Refused(
                f"{self._target.name} finds no adapter at {adapter.path}: {said.words}",
                code="not-found",
                hint="where it runs in a container, mount our adapters there at the same path",
            )
        await self._api.healthy()
        return Refused(
            f"{self._target.name} does not take {adapter.name}: {said.words}",
            code="adapter-refused",
            hint="`localmodels lora inspect` says what the runtime does not take",
            details={"name": adapter.name, "text": said.words},
        )

    async def _not_unloaded(self, name: str, said: Said) -> OutsideError:
        if said.no_route:
            return Refused(
                f"{name} cannot be unloaded while {self._target.name} runs",
                code="no-api",
                hint="start the server without it in --lora-modules",
            )
        await self._api.healthy()
        return Unreachable(f"{self._target.name} does not unload {name}: {said.words}")


def _find(cards: Sequence[Card], name: str) -> Card | None:
    return next((card for card in cards if card.name == name), None)


def _is(card: Card, adapter: HeldAdapter, base: ServedBase) -> bool:
    return card.root == adapter.path and base.is_called(card.parent or "")
