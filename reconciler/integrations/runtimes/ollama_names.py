"""Stable names on Ollama: a model derived from another one, with a context of its own and the other's files.

``/api/create`` writes a manifest that refers to the same weights, and says in it what it came from (Ollama 0.33.0-rc2).
Such a name costs a few hundred bytes, and creating it again over the old one is one step at the server.
"""

from __future__ import annotations

from contextlib import aclosing, suppress

from reconciler.domain.names import DEFAULT_TAG, OllamaName
from reconciler.domain.observation import Alias
from reconciler.errors import Corrupt, OutOfSpace, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_api import Listed, OllamaApi
from reconciler.integrations.runtimes.ollama_keep import is_kept
from reconciler.integrations.runtimes.ollama_look import Look, Looking, canonical, key, parsed
from reconciler.integrations.runtimes.ollama_removal import Removal

_CREATE_SECONDS = 120.0
"""Longest silence of a create: it writes a manifest and some hundred bytes."""


def aliases_of(look: Look) -> tuple[Alias, ...]:
    """Every listed name that is derived by its form from another one: same weights, same texts, another context.

    A template, a system prompt, an adapter or parameters of its own make it a model of its own. Where its origin is
    gone, or has other weights now, it stands for nothing that is there.
    """
    found = (_alias(item, look) for item in look.listed)
    return tuple(sorted((alias for alias in found if alias is not None), key=lambda alias: alias.name))


def _alias(item: Listed, look: Look) -> Alias | None:
    shown = look.shown.get(item.name)
    if shown is None or not shown.parent or shown.is_adapted or key(shown.parent) == key(item.name):
        return None
    if item.remote or is_kept(item.name):
        return None
    origin = look.find(shown.parent)
    stands = look.shown.get(origin.name) if origin is not None else None
    same = stands is not None and shown.blobs and set(stands.blobs) == set(shown.blobs)
    if same and stands is not None and stands.form != shown.form:
        return None
    return Alias(
        name=plain(item.name),
        model=canonical(origin.name) if same and origin is not None else None,
        digest=item.digest,
        context=shown.context,
        loaded=any(key(runner.name) == key(item.name) for runner in look.busy),
    )


def plain(name: str) -> str:
    """As a file would spell it.

    >>> plain("coder:latest"), plain("acme/coder:v1")
    ('coder', 'acme/coder:v1')
    """
    return canonical(name).removesuffix(f":{DEFAULT_TAG}")


class OllamaNames:
    """The ``Names`` port of one Ollama server."""

    def __init__(self, looking: Looking, removal: Removal, *, api: OllamaApi, where: str) -> None:
        self._looking = looking
        self._removal = removal
        self._api = api
        self._where = where

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        """Create ``alias`` from ``model``, or create it again over what it stood for; seen as asked when this returns.

        Requests that run go on with the weights they began with.

        Raises:
            Refused: ``unmanaged-conflict``, ``not-found``, or the server does not take it. Corrupt: it made something
                else of it; what stood there before is put back.
        """
        wanted, look = parsed(alias), await self._looking.look()
        source = self._source(parsed(model), wanted, look)
        before = self._standing(wanted, look)
        if before is not None and _is_as_asked(before, source, context):
            return before
        self._refuse_to_lose(wanted, before, look)
        await self._api.show(source.name)  # listed without its weights, it fails here
        failure: OutsideError | None = None
        try:
            await self._create(wanted, source.name, context)
        except OutsideError as error:
            failure = error
        return await self._verified(wanted, source, context, before, failure)

    async def unname(self, alias: str) -> None:
        """Delete the name where it is one by its form; nothing where it is gone.

        Raises:
            Refused: ``unmanaged-conflict``, ``in-use``.
        """
        wanted, look = parsed(alias), await self._looking.look()
        item = look.find(wanted.canonical)
        if item is not None and self._standing(wanted, look) is not None:
            await self._removal.remove_name(item, look)

    def _source(self, model: OllamaName, wanted: OllamaName, look: Look) -> Listed:
        """The model to derive from. One that is not installed would be pulled by the server."""
        if model.same_as(wanted):
            raise Refused(f"{wanted.canonical} cannot stand for itself", code="unmanaged-conflict")
        found = look.find(model.canonical)
        if found is None or found.remote:
            missing = "is a cloud entry without local files" if found else "is not installed"
            raise Refused(f"{model.canonical} {missing} on {self._where}", code="not-found")
        return found

    def _standing(self, wanted: OllamaName, look: Look) -> Alias | None:
        item = look.find(wanted.canonical)
        alias = _find(look, wanted)
        if item is not None and alias is None:
            raise Refused(
                f"{plain(item.name)} on {self._where} is a model of its own, and not ours to replace",
                code="unmanaged-conflict",
                hint="choose another alias, or remove it yourself",
                details={"name": plain(item.name), "found": item.digest},
            )
        return alias

    def _refuse_to_lose(self, wanted: OllamaName, before: Alias | None, look: Look) -> None:
        """The last name of some weights takes them along: not while somebody is being answered by them."""
        item = look.find(wanted.canonical)
        if item is None or before is None or not before.loaded or look.shares_weights(item):
            return
        raise Refused(
            f"{before.name} on {self._where} is in use, and the only name of what it stands for",
            code="in-use",
            hint="apply again once it is idle",
        )

    async def _create(self, wanted: OllamaName, source: str, context: int | None) -> None:
        """One create to its ``success``. Every other end is an error."""
        parameters = {} if context is None else {"num_ctx": context}
        lines = self._api.create(wanted.canonical, source, parameters, idle_timeout_seconds=_CREATE_SECONDS)
        async with aclosing(lines) as said:
            async for line in said:
                if line.error:
                    raise _create_failure(line.error, wanted.canonical)
                if line.status.startswith("pulling"):  # what it is created from went away in between
                    raise Refused(f"{source} is not installed on {self._where} any more", code="not-found")
                if line.status == "success":
                    return
        raise Unreachable(f"the create of {wanted.canonical} ended without success", code="connection-lost")

    async def _verified(
        self,
        wanted: OllamaName,
        source: Listed,
        context: int | None,
        before: Alias | None,
        failure: OutsideError | None,
    ) -> Alias:
        """What stands under the name now counts, whatever the server said."""
        look = await self._looking.look()
        found = _find(look, wanted)
        if found is not None and _is_as_asked(found, source, context):
            return found
        item = look.find(wanted.canonical)
        untouched = (item.digest if item else None) == (before.digest if before else None)
        if untouched:
            message = f"{wanted.canonical} was created, and {self._where} lists it as it was"
            raise failure or Unreachable(message, hint="apply again")
        raise await self._put_back(wanted, item, before, failure)

    async def _put_back(
        self, wanted: OllamaName, item: Listed | None, before: Alias | None, failure: OutsideError | None
    ) -> OutsideError:
        """Undo a create that made something else; the error that says so."""
        left = "it was removed again"
        with suppress(OutsideError):
            if before is not None and before.model is not None:
                await self._create(wanted, before.model, before.context)
                left = f"it stands for {before.model} again"
            elif item is not None and before is None:
                await self._api.delete(item.name)
        return Corrupt(
            f"{wanted.canonical} was created on {self._where}, and is not what was asked for: {left}",
            code=failure.code if failure else None,
            hint=(failure.hint if failure else None) or "report the server's version: it derives models otherwise",
            details={"name": wanted.canonical, "found": item.digest if item else None},
        )


def _find(look: Look, wanted: OllamaName) -> Alias | None:
    return next((alias for alias in aliases_of(look) if key(alias.name) == key(wanted.canonical)), None)


def _is_as_asked(alias: Alias, source: Listed, context: int | None) -> bool:
    stands = alias.model is not None and key(alias.model) == key(source.name)
    return stands and context in (None, alias.context)


def _create_failure(text: str, name: str) -> OutsideError:
    message = f"Ollama cannot create {name}: {text[:300]}"
    if "no space left on device" in text.lower():
        return OutOfSpace(message, hint="make room on the server")
    return Refused(
        message, code="refused", hint="the model itself stays under its own name", details={"text": text[:300]}
    )
