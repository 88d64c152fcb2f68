"""An adapter, done: looked at again, written down, held on this host, attached, or detached. Only what is ours changes.

The base goes on whatever happens: a target that fails serves what it served, and the next run finds out by looking.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from reconciler.domain.adapter import (
    ADDRESS,
    CANDIDATE_SUFFIX,
    Adapter,
    AdapterVerdict,
    HeldAdapter,
    RecordAdapter,
    is_same_scale,
    made_key,
)
from reconciler.domain.advice import quoted
from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import AdapterNeed, ObservedTarget
from reconciler.domain.plan import AdapterMove, Row
from reconciler.domain.record import Intent
from reconciler.domain.units import Bytes
from reconciler.engine.bookkeeping import Books
from reconciler.engine.look import find, find_adapter
from reconciler.engine.lora.other_owners import owned_by, owner_of
from reconciler.engine.lora.verdict import FoundSource, local_source
from reconciler.engine.lora.workshop import Workshop
from reconciler.errors import PlanningError, Refused, Unreachable
from reconciler.lora.adapter_content import AdapterContent, ContentFile, content_digest
from reconciler.planning.trust import distrust_of_adapter
from reconciler.ports import AdapterConverter, Progress, Runtime, ServesAdapters, TriesAdapters

Attempts = Callable[[Callable[[], Awaitable[Any]], Intent], Awaitable[Any]]
"""Tries a step as often as its kind of failure deserves, and journals how it ended where it failed."""


@dataclass(frozen=True, slots=True)
class Adapting:
    """What a step about an adapter works with."""

    desired: DesiredState
    books: Books
    workshop: Workshop
    progress: Progress
    attempts: Attempts


async def adapt(row: Row, move: AdapterMove, runtime: Runtime, tools: Adapting) -> Bytes:
    """Attach, change or detach; the bytes that came.

    Raises:
        PlanningError: it is not ours, not allowed, or its base is gone; nothing was touched.
        OutsideError: the source or the target says no; what was served is served on.
    """
    if not isinstance(runtime, ServesAdapters):
        raise PlanningError(f"{row.target} takes no adapters", code="no-api", hint="plan again")
    now = await runtime.observe()
    if not isinstance(now, ObservedTarget):
        raise Unreachable(f"{row.target} cannot be looked at: {now.reason}", hint=now.hint)
    _refuse_what_is_not_ours(row, move, now, tools)
    await _refuse_what_is_anothers(row, move, tools)
    if move.after is None:
        await _detach(row, move, runtime, tools)
        return Bytes(0)
    return await _attach(row, move, runtime, tools)


def _refuse_what_is_not_ours(row: Row, move: AdapterMove, now: ObservedTarget, tools: Adapting) -> None:
    """Look once more right before: a download of the base may have taken hours."""
    ours, here = tools.books.record.adapter(row.target_key, move.name), find_adapter(now, move.name)
    if (move.after is None and ours is None) or (here is not None and (ours is None or here.is_foreign_to(ours))):
        raise PlanningError(
            f"the adapter {move.name} on {row.target} is not ours: it stays as it is",
            code="unmanaged-conflict",
            hint="unload it there, or serve yours under another name",
        )
    if move.after is not None and find(now, move.base) is None:
        raise PlanningError(
            f"{move.base} is not on {row.target}: {move.name} has nothing to stand on",
            code="not-found",
            hint="plan again",
        )


async def _refuse_what_is_anothers(row: Row, move: AdapterMove, tools: Adapting) -> None:
    """Whatever our own record says: where two documents own one, either would take it from the other."""
    other = await owner_of(tools.workshop.world, tools.desired, row.target_key, move.name)
    if other is not None:
        message, hint = owned_by(other, move.name, row.target)
        ours = tools.books.record.adapter(row.target_key, move.name) is not None
        letting = f"; `localmodels disown {quoted(ADDRESS + move.adapter)}` with this file lets it go here"
        raise PlanningError(message, code="unmanaged-conflict", hint=hint + (letting if ours else ""))


async def _detach(row: Row, move: AdapterMove, runtime: ServesAdapters, tools: Adapting) -> None:
    ours = tools.books.record.adapter(row.target_key, move.name)
    if ours is None:
        raise PlanningError(f"the adapter {move.name} on {row.target} is not ours", code="not-owned")
    intent = await tools.books.begin_adapting(row, ours)
    await tools.attempts(lambda: runtime.detach(move.name, ours.base), intent)
    await tools.books.detached(intent)


async def _attach(row: Row, move: AdapterMove, runtime: ServesAdapters, tools: Adapting) -> Bytes:
    adapter, verdict = _allowed(row, move, tools)
    content = await _planned_content(adapter, verdict, tools)
    wanted = _wanted(row, move, adapter, verdict, tools)
    intent = await tools.books.begin_adapting(row, wanted)

    async def attach() -> tuple[str, str]:
        path = await held_path(row, adapter, verdict, content, tools)
        try:
            served = await runtime.attach(_held(move, verdict, path))
        except Refused as error:
            raise _from_its_source(error, path, adapter) from error
        if isinstance(runtime, TriesAdapters):  # what stays of a try is found by nobody once the step is closed
            await runtime.end_tries(move.name)
        return path, served.path or path

    _, path = await tools.attempts(attach, intent)
    await tools.books.attached(intent, wanted.model_copy(update={"path": path}))
    return content.bytes if verdict.artifact is not None else Bytes(0)


def _wanted(row: Row, move: AdapterMove, adapter: Adapter, verdict: AdapterVerdict, tools: Adapting) -> RecordAdapter:
    """What the record will say; where its files lie is known once they are held."""
    before = tools.books.record.adapter(row.target_key, move.name)
    return RecordAdapter(
        target_key=row.target_key,
        target_name=row.target,
        adapter=move.adapter,
        name=move.name,
        base=move.base,
        declared_base=move.declared_base,
        digest=verdict.digest,
        scale=move.scale,
        path=before.path if before is not None and before.digest == verdict.digest else "",
        bytes=verdict.bytes,
        attached_at=tools.workshop.world.clock.now(),
        source=adapter.source,
        terms=adapter.terms,
    )


def _held(move: AdapterMove, verdict: AdapterVerdict, path: str) -> HeldAdapter:
    return HeldAdapter(
        name=move.name,
        base=move.base,
        path=path,
        digest=verdict.digest,
        format="gguf" if path.endswith(".gguf") else "peft",
        rank=verdict.rank,
        scale=move.scale,
    )


def _from_its_source(error: Refused, path: str, adapter: Adapter) -> Refused:
    """A command to run by hand names the source: our copy goes with the attempt that failed."""
    source = adapter.source.path or adapter.source.repo
    if error.code != "no-api" or source is None:
        return error
    command, hint, details = error.details.get("command"), error.hint, error.details
    if isinstance(command, str):
        named = command
        for word in shlex.split(command):
            named = named.replace(quoted(word), quoted(word.replace(path, source))) if path in word else named
        hint, details = hint and hint.replace(command, named), {**details, "command": named}
    hint = hint and hint.replace(path, source)
    return Refused(error.message, code=error.code, hint=hint, details=details)


def _allowed(row: Row, move: AdapterMove, tools: Adapting) -> tuple[Adapter, AdapterVerdict]:
    """The file asked again: a plan may have been saved for a day or edited by hand.

    Raises:
        PlanningError: what the row would attach is not what the file declares and allows.
    """
    adapter, verdict = tools.workshop.declared(move.adapter), move.verdict
    if (
        adapter is None
        or adapter.absent
        or not _is_asked_for(adapter, row.target, move)
        or verdict is None
        or verdict.digest != move.after
    ):
        raise PlanningError(
            f"the file does not ask for adapter {move.adapter} so", code="not-allowed", hint="plan again"
        )
    _refuse_a_no(adapter, verdict, row, tools)
    artifact = verdict.artifact
    if (artifact is None) != (adapter.source.repo is None):
        raise PlanningError(f"the source of {move.adapter} is another now", code="not-allowed", hint="plan again")
    if artifact is not None:
        _refuse_strangers(artifact.repo, artifact.endpoint, adapter, tools.desired)
    return adapter, verdict


def _is_asked_for(adapter: Adapter, target: str, move: AdapterMove) -> bool:
    """Under the name and at the scale that the file wants there; or as the candidate that its gate lets be tried."""
    suffixes = ("", CANDIDATE_SUFFIX) if _has_candidates(adapter) else ("",)
    return any(
        one.target == target
        and move.name in [one.name + suffix for suffix in suffixes]
        and is_same_scale(one.scale, move.scale)
        for one in adapter.serve
    )


def _has_candidates(adapter: Adapter) -> bool:
    return adapter.gate is not None and adapter.gate.on_missing == "serve-as-candidate"


def _refuse_a_no(adapter: Adapter, verdict: AdapterVerdict, row: Row, tools: Adapting) -> None:
    if verdict.errors:
        first = verdict.errors[0]
        raise PlanningError(f"{adapter.name}: {first.message}", code="adapter-rejected", hint=first.hint)
    if not verdict.unpromoted or adapter.gate is None or adapter.gate.on_missing == "warn":
        return
    if adapter.gate.on_missing == "block" or _takes_the_name_of_the_promoted(adapter, verdict, row, tools):
        text = f"{adapter.name}: {verdict.unpromoted[0].message}"
        raise PlanningError(text, code="not-promoted", hint="promote these weights, or plan again")


def _takes_the_name_of_the_promoted(adapter: Adapter, verdict: AdapterVerdict, row: Row, tools: Adapting) -> bool:
    """A candidate under the plain name; what stands there already with the same content just stays."""
    name = row.adapter.name if row.adapter is not None else ""
    ours = tools.books.record.adapter(row.target_key, name)
    if ours is not None and ours.digest == verdict.digest:
        return False
    return any(one.target == row.target and one.name == name for one in adapter.serve)


def _refuse_strangers(repo: str, endpoint: str, adapter: Adapter, desired: DesiredState) -> None:
    if repo != adapter.source.repo:
        text = f"the adapter {adapter.name} would come from {repo}, and the file names {adapter.source.repo}"
        raise PlanningError(text, code="not-allowed", hint="plan again")
    if (distrust := distrust_of_adapter(desired.pool, adapter)) is not None:
        message, hint = distrust
        raise PlanningError(f"the adapter {adapter.name} may not come: {message}", code="not-allowed", hint=hint)
    if _spelled(endpoint) != _spelled(desired.hub.endpoint):
        text = f"{repo} would come from {endpoint}, and the file's hub is {desired.hub.endpoint}"
        raise PlanningError(text, code="not-allowed", hint="plan again")


def _spelled(endpoint: str) -> tuple[str, str, str]:
    """(scheme, host, path): case counts in the path alone."""
    scheme, _, rest = endpoint.rstrip("/").partition("://")
    host, _, path = rest.partition("/")
    return scheme.lower(), host.lower(), path


async def _planned_content(adapter: Adapter, verdict: AdapterVerdict, tools: Adapting) -> AdapterContent:
    """The very files that the verdict is about: where it is about our copy, that, and nobody reads the source.

    Raises:
        PlanningError: they are others now, or the copy is not one of content of ours.
        OutsideError: they cannot be read.
    """
    if not verdict.is_held_copy:
        return await asyncio.to_thread(content_of, adapter, verdict, tools.workshop)
    ours = any(one.digest == verdict.digest for one in tools.books.record.adapters)
    place = await tools.workshop.held_place(adapter, verdict.digest) if ours else None
    if place is None:
        text = f"there is no copy of {adapter.name} here that may stand in for its source"
        raise PlanningError(text, code="content-changed", hint="plan again")
    return place.content


def content_of(adapter: Adapter, verdict: AdapterVerdict, workshop: Workshop) -> AdapterContent:
    """The very files that the verdict is about. Blocks: those of this host are read whole.

    Raises:
        PlanningError: ``content-changed``: the files on this host are others now.
        OutsideError: they cannot be read.
    """
    if verdict.artifact is not None:
        files = tuple(
            ContentFile(name=one.path, bytes=one.bytes, sha256=one.sha256.lower()) for one in verdict.artifact.files
        )
        found = AdapterContent(digest=content_digest(files), files=files, artifact=verdict.artifact)
    else:
        found = local_source(adapter, workshop.ports.files).content
    if found.digest != verdict.digest:
        raise PlanningError(
            f"the files of adapter {adapter.name} are not those that were planned with",
            code="content-changed",
            hint="plan again",
        )
    return found


async def held_path(
    row: Row, adapter: Adapter, verdict: AdapterVerdict, content: AdapterContent, tools: Adapting
) -> str:
    """The files on this host in the form the target takes, judged once more as they lie there.

    Raises:
        PlanningError: ``adapter-rejected``: with the base that is installed now, it does not fit after all.
        OutsideError: they cannot be fetched, held or converted.
    """
    shop = tools.workshop
    path = await shop.store.hold(content, shop.holder, tools.progress)
    await _refuse_what_does_not_fit(row, adapter, content, path, tools)
    target = shop.observation.target(row.target) if shop.observation is not None else None
    takes = target.takes_adapters if isinstance(target, ObservedTarget) else None
    if verdict.format != "peft" or takes != "gguf":
        return path
    if verdict.is_held_copy or await shop.no_converter() is not None:
        made = await shop.conversion(adapter, content.digest)
        if made is not None:
            return await shop.store.converted(content.digest, made, _damaged)
    converter = shop.ports.converter(shop.desired)
    if converter is None:
        raise PlanningError("nothing on this host converts adapters to GGUF", code="no-converter")
    return await shop.store.converted(
        content.digest,
        await key_of(converter, adapter),
        lambda out: converter.convert(path, None, adapter.convert, out),
    )


async def _damaged(_: str) -> None:
    raise PlanningError("what was made of it was damaged meanwhile", code="content-changed", hint="plan again")


async def key_of(converter: AdapterConverter, adapter: Adapter) -> str:
    """What a GGUF that this converter makes of an adapter is kept under."""
    maker = hashlib.sha256((await converter.identity()).encode()).hexdigest()[:32]
    return made_key(maker, adapter.convert)


async def _refuse_what_does_not_fit(
    row: Row, adapter: Adapter, content: AdapterContent, path: str, tools: Adapting
) -> None:
    """With the base's own file, which may have come only now, and with the weights, of which only heads were read."""
    shop = tools.workshop
    if shop.observation is None or row.adapter is None:
        return
    asked = [answer.need for answer in shop.observation.answers if isinstance(answer.need, AdapterNeed)]
    need = next(
        (
            one
            for one in asked
            if (one.adapter, one.target, one.base_name) == (adapter.name, row.target, row.adapter.base)
        ),
        None,
    )
    if need is None:
        return
    met = row.adapter.verdict is not None and row.adapter.verdict.is_held_copy and shop.has_met(adapter, need)
    place = FoundSource(path, shop.ports.files, content)
    _refuse_a_no(adapter, await shop.verdict(adapter, need, place, shop.observation, met=met), row, tools)
