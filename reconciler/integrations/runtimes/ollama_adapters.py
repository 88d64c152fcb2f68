"""LoRA adapters on Ollama: models of their own, made from an installed base and an adapter file.

Such a model shares its base's weights and is asked by its own name. Servers before 0.34.1 make them (``/api/create``
with ``adapters``); later ones serve those that exist, as reported (mellea#1651). Whoever made one, it is seen. A new
one is made under a passing name and answers once before it takes its name, because a create proves nothing: an adapter
of another architecture fails only when it is loaded. Read against Ollama 0.33.0-rc2.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

from reconciler.domain.adapter import HeldAdapter, ServedAdapter
from reconciler.errors import Corrupt, OutOfSpace, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.held_gguf import HeldGguf
from reconciler.integrations.runtimes.ollama_api import Listed, OllamaApi
from reconciler.integrations.runtimes.ollama_look import Look, Looking, canonical, key, parsed
from reconciler.integrations.runtimes.ollama_names import plain
from reconciler.integrations.runtimes.ollama_removal import Removal

_PASSING = "localmodels-trial/"
_REMOVED = (0, 34, 1)
"""First version without creation. Source: mellea#1651, on ollama#14969."""
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_SILENCE_SECONDS = 300.0
_PROBE_SECONDS = 600.0
"""Longest wait for a first answer: the base is loaded for it."""
_BLOCK_BYTES = 1 << 20
_TAKES_NONE = re.compile(r"\badapters?\b.*\b(not|no longer) supported\b")
"""A server that makes no models with adapters says so of adapters. What it says of a file that it got ("unsupported
architecture", "only one adapter is currently supported") is about that one.

Source: server/create.go of Ollama up to v0.34.0, for the second kind; from v0.34.1 on nobody is asked (``can_make``).
"""
_NO_LONGER = "this Ollama makes no models with adapters: serve it with a llama-server, or merge it into its base"


def is_passing(name: str) -> bool:
    """Whether a listed name is one that an adapter has until it has answered."""
    return key(name).startswith(_PASSING)


def can_make(version: str) -> bool:
    """Whether a server of this version may make models with adapters; where nobody can tell, it is not tried.

    >>> [can_make(version) for version in ("0.33.0-rc2", "0.34.0", "0.34.1", "1.0.0", "main")]
    [True, True, False, False, False]
    """
    found = _VERSION.match(version)
    return found is not None and tuple(int(part) for part in found.groups()) < _REMOVED


def _is_adapted(item: Listed, look: Look) -> bool:
    shown = look.shown.get(item.name)
    return shown is not None and shown.is_adapted and not item.remote


def _served(item: Listed, look: Look, held: Mapping[str, str]) -> ServedAdapter:
    """As it is listed. An adapter file that is none of ours is named by its hash, which is all there is of a place."""
    shown = look.shown[item.name]
    base = look.find(shown.parent) if shown.parent else None
    stands = look.shown.get(base.name) if base is not None else None
    same = stands is not None and set(stands.blobs) < set(shown.blobs)
    own = shown.blobs[-1:] if stands is None or not same else tuple(set(shown.blobs) - set(stands.blobs))
    digest = next((held[blob.removeprefix("sha256:")] for blob in own if blob.removeprefix("sha256:") in held), None)
    return ServedAdapter(
        name=plain(item.name),
        base=canonical(base.name) if base is not None and same else None,
        path=None if digest is not None else next(iter(own), None),
        digest=digest,
        loaded=look.is_busy(item),
    )


class OllamaAdapters:
    """The ``ServesAdapters`` port of one Ollama server."""

    def __init__(self, looking: Looking, removal: Removal, *, api: OllamaApi, where: str, held: HeldGguf) -> None:
        self._looking = looking
        self._removal = removal
        self._api = api
        self._where = where
        self._held = held

    async def seen(self, look: Look) -> tuple[ServedAdapter, ...]:
        """Every listed model that has an adapter, by name."""
        found = [item for item in look.listed if _is_adapted(item, look) and not is_passing(item.name)]
        held = await self._held.digests() if found else {}
        return tuple(sorted((_served(item, look, held) for item in found), key=lambda one: one.name))

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        """Make a model of the base and the adapter, or make it again over the one that has the name.

        Requests that run go on with what they began with.

        Raises:
            Refused: as the port says. Corrupt: the server made something else of it, which is gone again.
        """
        look = await self._looking.look()
        base, before = self._base(adapter, look), self._standing(adapter.name, look)
        blob = await asyncio.to_thread(_sha256, Path(adapter.path))
        if before is not None and _is(before, look, base, blob):
            return _served(before, look, {blob.removeprefix("sha256:"): adapter.digest})
        await self._check_can(adapter)
        await self._sweep(adapter.name, look)  # before: a blob that only a try has goes with it
        await self._upload(Path(adapter.path), blob)
        passing = f"{_place_of(adapter.name)}:{adapter.digest[:16]}"
        try:
            await self._try(passing, adapter, base, blob)
            return await self._made(adapter, base, blob)
        finally:  # not before: a file that no model refers to goes at once
            await asyncio.shield(self._dropped(passing))

    async def detach(self, name: str, base: str) -> None:  # noqa: ARG002 - the port's; the name is enough
        """Delete the model where it is one with an adapter by its form; nothing where it is gone. Its base stays.

        Raises:
            Refused: ``unmanaged-conflict``, ``in-use``.
        """
        look = await self._looking.look()
        await self._sweep(name, look)
        item = self._standing(name, look)
        if item is not None:
            await self._removal.remove_name(item, look)

    async def end_tries(self, name: str) -> None:
        """Delete what an attach of this name left when it was cut off."""
        for item in self._tries(name, await self._looking.look()):
            await self._api.delete(item.name)

    # before

    def _base(self, adapter: HeldAdapter, look: Look) -> Listed:
        """The model to make it from. One that is not installed would be pulled by the server."""
        if parsed(adapter.name).same_as(parsed(adapter.base)):
            raise self._conflict(adapter.name)
        found = look.find(parsed(adapter.base).canonical)
        if found is None or found.remote:
            missing = "is a cloud entry without local files" if found else "is not installed"
            raise Refused(f"{adapter.base} {missing} on {self._where}", code="not-found")
        return found

    def _standing(self, name: str, look: Look) -> Listed | None:
        item = look.find(parsed(name).canonical)
        if item is not None and not _is_adapted(item, look):
            raise self._conflict(item.name)
        return item

    def _conflict(self, name: str) -> Refused:
        return Refused(
            f"{plain(name)} on {self._where} is a model of its own, and no adapter",
            code="unmanaged-conflict",
            hint="give the adapter another name, or remove the model yourself",
        )

    async def _check_can(self, adapter: HeldAdapter) -> None:
        version = await self._api.version()
        if not can_make(version):
            raise Refused(
                f"{self._where} has Ollama {version}, which takes no adapters", code="no-api", hint=_NO_LONGER
            )
        if adapter.format != "gguf":
            raise Refused(f"{self._where} takes adapters as GGUF, not as {adapter.format}", code="adapter-refused")
        if adapter.scale != 1.0:
            raise Refused(
                f"{self._where} serves adapters as they are, not at scale {adapter.scale:g}",
                code="no-api",
                hint="leave `scale` out, or serve it with a llama-server",
            )

    # making

    async def _upload(self, path: Path, blob: str) -> None:
        if not await self._api.has_blob(blob):
            size = (await asyncio.to_thread(path.stat)).st_size
            await self._api.upload(blob, _blocks(path), size, idle_timeout_seconds=_SILENCE_SECONDS)

    async def _sweep(self, name: str, look: Look) -> None:
        """Delete what an attach of this name left when it was cut off."""
        for item in self._tries(name, look):
            await self._dropped(item.name)

    def _tries(self, name: str, look: Look) -> list[Listed]:
        return [item for item in look.listed if key(item.name).startswith(f"{_place_of(name)}:")]

    async def _try(self, passing: str, adapter: HeldAdapter, base: Listed, blob: str) -> None:
        """Make it under its passing name, and have it answer."""
        await self._create(passing, base.name, blob)
        look = await self._looking.look()
        item = look.find(passing)
        if item is None or not _is(item, look, base, blob):
            raise self._something_else(adapter)
        await self._answered(passing, adapter)

    async def _answered(self, passing: str, adapter: HeldAdapter) -> None:
        try:
            await self._api.generate(
                passing, timeout_seconds=_PROBE_SECONDS, prompt="a", keep_alive=0, options={"num_predict": 1}
            )
        except OutsideError as error:
            if error.details.get("status") not in (400, 500):
                raise
            raise Refused(
                f"{self._where} does not run {adapter.name}: {error.message}",
                code="adapter-refused",
                hint="it belongs to another base, or has what the runtime does not take: `localmodels lora inspect`",
                details={"name": adapter.name, "base": adapter.base},
            ) from error

    async def _dropped(self, passing: str) -> None:
        """Best effort: what stays is swept by the next step about the name."""
        with suppress(OutsideError):
            await self._api.delete(passing)

    async def _made(self, adapter: HeldAdapter, base: Listed, blob: str) -> ServedAdapter:
        """Create it over whatever has the name: one step at the server. What stands there then counts."""
        failure: OutsideError | None = None
        try:
            await self._create(parsed(adapter.name).canonical, base.name, blob)
        except OutsideError as error:
            failure = error
        look = await self._looking.look()
        item = look.find(parsed(adapter.name).canonical)
        if item is not None and _is(item, look, base, blob):
            return _served(item, look, {blob.removeprefix("sha256:"): adapter.digest})
        raise failure or Unreachable(f"{adapter.name} was created, and {self._where} does not list it so")

    async def _create(self, name: str, base: str, blob: str) -> None:
        """One create to its ``success``; every other end is an error, and no error here is tried again.

        Raises:
            Refused: ``no-api``, ``adapter-refused``, or the base is gone. OutOfSpace, Unreachable.
        """
        try:
            await self._created(name, base, blob)
        except Refused as error:
            if error.details.get("status") == 400:
                raise self._create_failure(error.message) from error
            raise

    async def _created(self, name: str, base: str, blob: str) -> None:
        lines = self._api.create(name, base, {}, idle_timeout_seconds=_SILENCE_SECONDS, adapters={"adapter.gguf": blob})
        async with aclosing(lines) as said:
            async for line in said:
                if line.error:
                    raise self._create_failure(line.error)
                if line.status.startswith("pulling"):  # what it is created from went away in between
                    raise Refused(f"{base} is not installed on {self._where} any more", code="not-found")
                if line.status == "success":
                    return
        raise Unreachable(f"the create of {name} ended without success", code="connection-lost")

    def _create_failure(self, text: str) -> OutsideError:
        lower = text.lower()
        if "no space left on device" in lower:
            return OutOfSpace(f"{self._where} has no room for the adapter", hint="make room on the server")
        if _TAKES_NONE.search(lower):
            return Refused(f"{self._where} takes no such adapter: {text[:300]}", code="no-api", hint=_NO_LONGER)
        return Refused(f"{self._where} does not take the adapter: {text[:300]}", code="adapter-refused")

    def _something_else(self, adapter: HeldAdapter) -> Corrupt:
        return Corrupt(
            f"{self._where} made something else of {adapter.name} than the base with the adapter: it is gone again",
            code="no-api",
            hint=_NO_LONGER,
        )


def _is(item: Listed, look: Look, base: Listed, blob: str) -> bool:
    """Whether a listed model is this base with this adapter file, and no other."""
    shown, stands = look.shown.get(item.name), look.shown.get(base.name)
    if shown is None or stands is None or not shown.is_adapted:
        return False
    return set(shown.blobs) == {*stands.blobs, blob}


def _place_of(name: str) -> str:
    return _PASSING + hashlib.sha256(key(name).encode()).hexdigest()[:24]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}", code="not-found") from error


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
