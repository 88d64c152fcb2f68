"""Make a lost or unreadable record again: an explicit command, from the journal and from what the targets really hold.

The journal alone is not believed where a target can be looked at: a model is ours again only where the target holds
what the journal says. Where nobody can look, unknown is not empty, and the entry stays. No target is touched.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.artifact import HubArtifact
from reconciler.domain.document import Frozen
from reconciler.domain.observation import Alias, Installed, ObservedTarget, TargetObservation, UnknownTarget
from reconciler.domain.record import Intent, Record, RecordAlias, RecordEntry
from reconciler.domain.units import Bytes, show_bytes
from reconciler.engine.bookkeeping import Books, claimed
from reconciler.engine.look import by_key, find, find_adapter, has_its_size, holds
from reconciler.engine.observe import look_at_targets
from reconciler.engine.replay import Replayed, replay
from reconciler.engine.world import Options, Runtimes, World, opened, unheard
from reconciler.errors import OutsideError, RecordError, RecordUnreadable, UsageError
from reconciler.ports import RecordStore


class Judged(Frozen):
    """One model or stable name that the journal calls ours, and whether it is taken back."""

    kind: str
    """``model``, ``alias`` or ``adapter``."""
    name: str
    target: str
    bytes: Bytes = Bytes(0)
    owned: bool
    why: str
    """One sentence for a person."""


class Rebuilt(Frozen):
    """A record made again, or the one that would be."""

    name: str
    lost: str
    """What became of the record."""
    owned: tuple[Judged, ...] = ()
    left_out: tuple[Judged, ...] = ()
    intents: tuple[Intent, ...] = ()
    """Begun and not known to have ended; the next apply finishes or undoes them."""
    generation: int
    saved: bool = False
    notes: tuple[str, ...] = ()


Agree = Callable[[Rebuilt], Awaitable[bool]]
"""Asked once, under the lock, with the record as it would be."""


async def rebuild(world: World, options: Options, *, agree: Agree) -> Rebuilt:
    """Replay the journal, compare it with every target, and save what holds, if ``agree`` says so.

    Raises:
        UsageError: code ``record-exists``: the record is whole, and nothing overwrites it.
        RecordError: code ``record-failed``: no journal tells of this document.
        RecordConflict: it was applied from another file.
    """
    desired = await world.source.load()
    store = world.records(desired)
    async with store.lock(timeout_seconds=options.lock_timeout_seconds):
        lost = await _what_is_lost(store, desired.name)
        replayed = replay(desired.name, await store.history())
        if not replayed.lines:
            raise _nothing_to_replay(desired.name, replayed)
        candidate = claimed(replayed.record, desired, take_over=options.take_over)
        async with opened(world, desired) as runtimes:
            targets = await look_at_targets(world, desired, runtimes, timeout_seconds=options.target_timeout_seconds)
            judged, record = await _judged(candidate, targets, runtimes)
        found = Rebuilt(
            name=record.name,
            lost=lost,
            owned=tuple(one for one in judged if one.owned),
            left_out=tuple(one for one in judged if not one.owned),
            intents=record.intents,
            generation=record.generation,
            notes=replayed.notes,
        )
        if not await agree(found):
            return found
        blank = Record(name=record.name, generation=replayed.record.generation)
        await Books(blank, store, world.clock).replace(record, event="rebuilt")
        return found.model_copy(update={"saved": True})


async def _what_is_lost(store: RecordStore, name: str) -> str:
    """Why the record is not there.

    Raises:
        UsageError: it is there, whole.
    """
    try:
        record = await store.load()
    except RecordUnreadable as error:
        return error.message
    if record.generation:
        raise UsageError(
            f"the record of {name!r} is whole: nothing needs rebuilding",
            code="record-exists",
            hint="`localmodels status` shows what is ours; `adopt` and `disown` change it",
        )
    return "there is no record"


def _nothing_to_replay(name: str, replayed: Replayed) -> RecordError:
    because = f" ({'; '.join(replayed.notes)})" if replayed.notes else ""
    return RecordError(
        f"no journal tells what {name!r} owned{because}",
        hint="apply again: what is installed and matches fills its slot; `localmodels adopt NAME` makes it ours",
    )


async def _judged(
    candidate: Record, targets: tuple[TargetObservation, ...], runtimes: Runtimes
) -> tuple[list[Judged], Record]:
    entries = [(entry, await _judge(entry, by_key(targets, entry.target_key), runtimes)) for entry in candidate.entries]
    aliases = [(alias, _judge_alias(alias, by_key(targets, alias.target_key))) for alias in candidate.aliases]
    adapters = [(one, _judge_adapter(one, by_key(targets, one.target_key))) for one in candidate.adapters]
    record = candidate.model_copy(
        update={
            "adapters": tuple(one for one, verdict in adapters if verdict.owned),
            "entries": tuple(entry for entry, verdict in entries if verdict.owned),
            "aliases": tuple(alias for alias, verdict in aliases if verdict.owned),
            "generation": candidate.generation + 1,
        }
    )
    return [verdict for _, verdict in (*entries, *aliases, *adapters)], record


async def _judge(entry: RecordEntry, target: TargetObservation | None, runtimes: Runtimes) -> Judged:
    def verdict(why: str, *, owned: bool) -> Judged:
        place = {"name": entry.name, "target": entry.target_name, "bytes": entry.bytes}
        return Judged.model_validate({"kind": "model", **place, "owned": owned, "why": why})

    if not isinstance(target, ObservedTarget):
        return verdict(_unseen(target), owned=True)
    found = find(target, entry.name)
    if found is None:
        return verdict("gone: the target does not list it", owned=False)
    same = _is_the_recorded(entry, found)
    if same is None and target.name in runtimes:
        same = await _reads_as_recorded(entry, found, runtimes, target.name)
    if same is None:
        same = found.bytes == entry.bytes if entry.artifact is None else has_its_size(entry.artifact, found)
        said = f"its name and its size say so ({show_bytes(found.bytes)}); its content cannot be told"
        return verdict(said if same else f"another size: {show_bytes(found.bytes)}", owned=same)
    return verdict("as the journal says" if same else "other content stands under the name", owned=same)


def _is_the_recorded(entry: RecordEntry, found: Installed) -> bool | None:
    """Whether a look shows the very content that was recorded; None where only reading it can tell."""
    if entry.stamp is not None and entry.stamp == found.stamp:
        return True
    if entry.digest is not None and found.digest is not None:
        return entry.digest == found.digest
    if entry.artifact is None:
        return None
    if isinstance(entry.artifact, HubArtifact) and found.bytes and not has_its_size(entry.artifact, found):
        return False
    return holds(entry.artifact, found, target_key=entry.target_key)


async def _reads_as_recorded(entry: RecordEntry, found: Installed, runtimes: Runtimes, target: str) -> bool | None:
    """The same by reading it whole."""
    if entry.digest is None:
        return None
    try:
        digest, _ = await runtimes[target].digest(found.name, unheard)
    except OutsideError:
        return None
    return digest == entry.digest if digest else None


def _judge_alias(alias: RecordAlias, target: TargetObservation | None) -> Judged:
    def verdict(why: str, *, owned: bool) -> Judged:
        return Judged(kind="alias", name=alias.name, target=alias.target_name, owned=owned, why=why)

    if not isinstance(target, ObservedTarget):
        return verdict(_unseen(target), owned=True)
    found = next((one for one in target.aliases if one.name.casefold() == alias.name.casefold()), None)
    if found is None:
        return verdict("gone: the target has no such name", owned=False)
    if not _stands_as_recorded(alias, found):
        return verdict(f"it stands for {found.model or 'nothing that is there'}, not for {alias.model}", owned=False)
    return verdict(f"it stands for {alias.model}, as the journal says", owned=True)


def _judge_adapter(adapter: RecordAdapter, target: TargetObservation | None) -> Judged:
    def verdict(why: str, *, owned: bool) -> Judged:
        return Judged(
            kind="adapter", name=adapter.name, target=adapter.target_name, bytes=adapter.bytes, owned=owned, why=why
        )

    if not isinstance(target, ObservedTarget):
        return verdict(_unseen(target), owned=True)
    found = find_adapter(target, adapter.name)
    if found is None:
        return verdict("gone: the target serves no adapter of this name", owned=False)
    same = found.holds(adapter.digest) or (found.path is not None and found.path == adapter.path)
    return verdict("as the journal says" if same else "another adapter is served under the name", owned=same)


def _stands_as_recorded(alias: RecordAlias, found: Alias) -> bool:
    if alias.digest is not None and found.digest is not None:
        return alias.digest == found.digest
    return found.model is not None and found.model.casefold() == alias.model.casefold()


def _unseen(target: UnknownTarget | None) -> str:
    if target is None:
        return "its target is not in the file: kept as it was"
    return f"its target cannot be looked at ({target.reason}): kept as it was"
