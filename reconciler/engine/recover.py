"""Steps that were begun and whose outcome nobody wrote down: look what became of them.

A step that succeeded closes its intent itself. Whatever else happened, a failure, Ctrl-C or a crash, this decides:
finished means the record says so now, undone means it never happened, and what is half there stays ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.observation import Installed, ObservedTarget, TargetObservation
from reconciler.domain.record import Intent, Record
from reconciler.domain.units import show_bytes
from reconciler.engine.bookkeeping import ADAPTING, NAMING, entry_of, with_alias, without_alias
from reconciler.engine.gone import is_gone
from reconciler.engine.look import (
    by_key,
    find,
    find_alias,
    has_its_size,
    holds,
    is_recorded,
    recorded_alias,
    same_model,
)
from reconciler.engine.lora.settled import after_adapting
from reconciler.engine.world import Runtimes, unheard
from reconciler.errors import OutsideError
from reconciler.ports import TriesAdapters

_CONTRADICTS = "does not list, and answers for,"


@dataclass(frozen=True, slots=True)
class Recovery:
    """A record whose open intents were looked into, and what was found, in sentences."""

    record: Record
    notes: tuple[str, ...] = ()


async def recover(
    record: Record, targets: tuple[TargetObservation, ...], runtimes: Runtimes, *, now: datetime
) -> Recovery:
    """Close every intent that a look can close; save nothing.

    An intent stays open while its target is unknown or left the file, and while an unfinished download of it is kept.

    Args:
        record: with its open intents.
        targets: as just observed.
        runtimes: to read content that a look cannot tell.
        now: when what was finished counts as installed.
    """
    notes: list[str] = []
    for intent in record.intents:
        target = by_key(targets, intent.target_key)
        if not isinstance(target, ObservedTarget):
            continue
        if intent.action == "evict":
            record, note = await _after_eviction(record, intent, target, runtimes)
        elif intent.action in NAMING:
            record, note = _after_naming(record, intent, target)
        elif intent.action in ADAPTING:
            record, note = after_adapting(record, intent, target)
        else:
            record, note = await _after_install(record, intent, target, runtimes, now)
        notes.extend([note] if note else [])
    return Recovery(record, tuple(notes))


async def swept(
    before: Record, after: Record, targets: tuple[TargetObservation, ...], runtimes: Runtimes
) -> tuple[str, ...]:
    """Finish what a look cannot: remove the rest of what was half evicted, what a whole download left beside it, and
    the passing names that adapters were tried under.

    Nothing is touched that has a name of its own: no model, no download that can be resumed.

    Args:
        before: with the intents as they were.
        after: with those closed that a look could close.
        targets: as that look saw them.
        runtimes: by the target's name.

    Returns:
        Warnings about what could not be done.
    """
    closed = [intent for intent in before.intents if intent not in after.intents]
    notes = []
    for target in targets:
        runtime = runtimes.get(target.name)
        here = [intent for intent in closed if intent.target_key == target.key]
        if not isinstance(target, ObservedTarget) or runtime is None or not here:
            continue
        try:
            for intent in here:
                if intent.action == "evict" and find(target, intent.name) is None:
                    await runtime.remove(intent.name)
                if intent.action in ADAPTING and isinstance(runtime, TriesAdapters):
                    await runtime.end_tries(intent.name)
            if any(intent.action not in ("evict", *ADAPTING) for intent in here):
                await runtime.clean_partials(frozenset(target.partial_names))
        except OutsideError as error:
            notes.append(f"what a step left on {target.name} was not cleaned: {error.message}")
    return tuple(notes)


async def _after_eviction(
    record: Record, intent: Intent, target: ObservedTarget, runtimes: Runtimes
) -> tuple[Record, str]:
    settled = record.without_intent(intent.id)
    if find(target, intent.name) is not None:
        return settled, f"the eviction of {intent.name} on {target.name} did not happen; it is still ours"
    if not await is_gone(runtimes.get(target.name), intent.name, target.name):
        return record, f"{target.name} {_CONTRADICTS} {intent.name}: whether it is gone stays open"
    return settled.without(intent.target_key, intent.name), f"{intent.name} is gone from {target.name}, as was begun"


def _after_naming(record: Record, intent: Intent, target: ObservedTarget) -> tuple[Record, str]:
    """A name that stands where we were moving it is ours; one that was never ours is not taken by a look."""
    settled, here = record.without_intent(intent.id), find_alias(target, intent.name)
    ours = recorded_alias(record, intent.target_key, intent.name)
    if intent.alias is None:
        if here is not None or ours is None:
            return settled, f"the name {intent.name} on {target.name} was not removed"
        return without_alias(settled, intent.target_key, intent.name), f"the name {intent.name} is gone, as was begun"
    if here is None:
        return settled, f"the name {intent.name} on {target.name} was not made"
    wanted = intent.alias
    stands = same_model(target.key, here.model, wanted.model) and here.context in (None, wanted.context)
    if not stands or intent.existed:
        return settled, f"the name {intent.name} on {target.name} was not moved"
    found = wanted.model_copy(update={"digest": here.digest})
    return with_alias(
        settled, found
    ), f"the name {intent.name} on {target.name} stands for {wanted.model}, as was begun"


async def _after_install(
    record: Record, intent: Intent, target: ObservedTarget, runtimes: Runtimes, now: datetime
) -> tuple[Record, str]:
    found = find(target, intent.name)
    settled = record.without_intent(intent.id)
    if found is None:
        if intent.name in target.partial_names:
            return record, ""
        if not await is_gone(runtimes.get(target.name), intent.name, target.name):
            return record, f"{target.name} {_CONTRADICTS} {intent.name}: whether it has arrived stays open"
        return settled, f"the install of {intent.name} on {target.name} {_remains(target)}"
    before = record.entry(intent.target_key, intent.name)
    if before is not None and intent.action == "update" and is_recorded(before, found):
        return settled, f"the update of {intent.name} on {target.name} did not happen; the old content stands"
    if intent.existed:
        return settled, f"{intent.name} on {target.name} was there before us and stays foreign"
    digest = await _content(intent, found, runtimes)
    if not _is_ours(intent, found, digest):
        return settled, f"{intent.name} on {target.name} is not what was being installed; it is left alone"
    known = found if found.digest else found.model_copy(update={"digest": digest})
    return settled.with_entry(entry_of(intent, known, now)), f"{intent.name} on {target.name} had arrived whole"


def _remains(target: ObservedTarget) -> str:
    """What an install that never happened left: some targets count unfinished downloads without naming them."""
    if not target.partial_bytes or target.partial_names:
        return "left nothing behind"
    return f"did not finish; {show_bytes(target.partial_bytes)} of unfinished downloads are kept there for resuming"


async def _content(intent: Intent, found: Installed, runtimes: Runtimes) -> str | None:
    """The digest of what stands there: as listed, or by reading it; None where neither can tell."""
    entry = intent.entry
    if (
        entry is None
        or entry.artifact is None
        or holds(entry.artifact, found, target_key=intent.target_key) is not None
    ):
        return found.digest
    runtime = runtimes.get(intent.target_name)
    if runtime is None:
        return None
    try:
        digest, _ = await runtime.digest(found.name, unheard)
    except OutsideError:
        return None
    return digest


def _is_ours(intent: Intent, found: Installed, digest: str | None) -> bool:
    """A name that was free before us, and now holds what we were fetching.

    Where even reading cannot tell (a server that verifies and renames by itself), the size decides.
    """
    artifact = intent.entry.artifact if intent.entry is not None else None
    if artifact is None:
        return False
    verdict = holds(artifact, found, target_key=intent.target_key, digest=digest)
    return has_its_size(artifact, found) if verdict is None else verdict
