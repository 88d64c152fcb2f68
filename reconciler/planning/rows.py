"""Rows of a plan, built in one place so that every row of one kind says the same things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.domain.desired import DEFAULT_CONTEXT, Slot, Target
from reconciler.domain.plan import Action, Reason, Row, RowEvidence, Standing
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import Bytes, show_bytes
from reconciler.planning.option import FORBIDDEN, Option, Rejected
from reconciler.planning.options import Options
from reconciler.planning.room import Room
from reconciler.planning.scene import Scene

_NEAREST = (
    "no-room", "too-slow", "does-not-fit", "too-large", "unavailable", "context-too-long", "quant-not-accepted",
    "capability-unknown", "not-installable-here", "license-not-allowed", "family-not-allowed", "packager-not-allowed",
    "never-listed", "publisher-not-allowed",
)  # fmt: skip
"""Rejections from the nearest miss to the farthest; what is not listed is too far to mention."""


def evidence_of(scene: Scene, option: Option) -> RowEvidence:
    """The numbers of an option."""
    assessment = option.assessment
    return RowEvidence(
        score=round(assessment.score, 2),
        low=round(assessment.low, 2),
        high=round(assessment.high, 2),
        tokens_per_second=round(assessment.speed.tokens_per_second, 1),
        memory_bytes=assessment.memory.total_bytes,
        context=option.context,
        kv_cache=None if option.kv_cache == "f16" else option.kv_cache,
        parallel=None if option.parallel == 1 else option.parallel,
        capacity_bytes=scene.hardware(option.target).capacity_bytes,
        notes=_notes(option),
    )


def _notes(option: Option) -> tuple[str, ...]:
    """What else a person should know of the numbers."""
    conditions = _conditions(option)
    return tuple(note for note in (_length(option), conditions and f"if it is served with {conditions}") if note)


def _conditions(option: Option) -> str:
    """How its target must be started for the numbers to hold, where that is not the usual way."""
    cache = f"a {option.kv_cache} cache" if option.kv_cache != "f16" else ""
    conversations = f"{option.parallel} conversations at once" if option.parallel > 1 else ""
    return " and ".join(part for part in (cache, conversations) if part)


def shared_notes(first: Option, others: Iterable[tuple[str, Option]]) -> tuple[str, ...]:
    """What other slots ask of the same model beyond the first one, whose numbers a row has."""
    notes = []
    for address, option in others:
        conditions = _conditions(option)
        if option.context > first.context or conditions != _conditions(first):
            served = f" with {conditions}" if conditions else ""
            notes.append(f"for {address} {option.context:,} tokens{served}")
    return tuple(notes)


def _length(option: Option) -> str:
    """How ``context: max`` came out, and whether anybody knows that the model takes so many tokens."""
    own = option.candidate.model.context_length
    if not option.assessment.fits:
        return ""
    if own is None:
        taken = f"so {option.context:,} tokens are planned" if option.context_is_max else ""
        taken = f"{option.context:,} tokens may be too many" if option.context > DEFAULT_CONTEXT else taken
        return f"nobody knows the model's own context, {taken}" if taken else ""
    if not option.context_is_max:
        return ""
    if option.context >= own:
        return f"{option.context:,} tokens fit, all that the model has"
    known = option.assessment.memory.basis == "architecture"
    rough = "" if known else ", judged by its weights alone: its dimensions are not known"
    return f"{option.context:,} tokens fit of the model's {own:,}{rough}"


def option_row(
    scene: Scene,
    option: Option,
    *,
    address: str,
    slots: Sequence[str],
    action: Action,
    reason: Reason,
    message: str = "",
) -> Row:
    """A row about what fills a slot: what stands there now, what will, and the numbers."""
    candidate, installed, entry = option.candidate, option.installed, option.entry
    before = None
    if installed is not None:
        before = Standing(
            name=installed.name,
            model_id=candidate.model.id,
            quant=candidate.quant or None,
            digest=installed.digest or (entry.digest if entry else None),
            bytes=installed.bytes,
        )
    changes = action in (Action.INSTALL, Action.UPDATE)
    size = option.artifact.bytes if option.artifact else option.candidate.bytes
    after = before
    if changes:
        after = Standing(
            name=option.name,
            model_id=candidate.model.id,
            quant=candidate.quant or None,
            digest=option.artifact.digest if option.artifact else None,
            bytes=size,
        )
    return Row(
        address=address,
        action=action,
        reason=reason,
        target=option.target.name,
        target_key=option.target.key,
        name=option.name,
        slots=tuple(slots),
        model_id=candidate.model.id,
        quant=candidate.quant or None,
        artifact=option.artifact if changes else None,
        revision=option.revision,
        resolved=not changes or option.artifact is not None,
        before=before,
        after=after,
        bytes_down=size if changes else Bytes(0),
        bytes_freed=installed.bytes if action is Action.UPDATE and installed else Bytes(0),
        ours=entry is not None or changes,
        evidence=evidence_of(scene, option),
        message=message,
    )


def entry_row(
    scene: Scene,
    target: Target,
    entry: RecordEntry,
    *,
    action: Action,
    reason: Reason,
    size: Bytes | None,
    message: str = "",
) -> Row:
    """A row about something of ours that no slot asks for. ``size`` is what is there now; None: nothing is.

    ``slots`` of an eviction are those it filled, so that it can wait for what takes its place.
    """
    standing = Standing(
        name=entry.name, model_id=entry.model_id, quant=entry.quant, digest=entry.digest, bytes=size or Bytes(0)
    )
    evicts = action is Action.EVICT
    filled = [address for address in entry.slots if address in scene.addresses]
    return Row(
        address=next(iter(filled), f"target/{target.name}/{entry.name}"),
        action=action,
        reason=reason,
        target=target.name,
        target_key=entry.target_key,
        name=entry.name,
        slots=entry.slots if evicts else (),
        model_id=entry.model_id,
        quant=entry.quant,
        before=standing if size is not None else None,
        after=standing if action is Action.KEEP else None,
        bytes_freed=size if evicts and size is not None else Bytes(0),
        ours=True,
        evidence=RowEvidence(score=round(entry.score, 2)),
        message=message,
    )


def target_row(
    *,
    address: str,
    slots: Sequence[str],
    target: str,
    target_key: str,
    reason: Reason,
    message: str,
    command: str | None = None,
) -> Row:
    """A row about a slot address that nobody can decide about on this target."""
    return Row(
        address=address,
        action=Action.KEEP,
        reason=reason,
        target=target,
        target_key=target_key,
        name="",
        slots=tuple(slots),
        message=message,
        command=command,
    )


def unfilled_row(
    scene: Scene, address: str, slot: Slot, options: Options, rejected: Sequence[Rejected], room: Room
) -> Row:
    """Why nothing fills a slot: the nearest miss, in words."""
    only_policy = not options and all(one.reason in FORBIDDEN for one in rejected)
    target = slot.target or (scene.desired.targets[0].name if scene.desired.targets else "")
    row = target_row(
        address=address,
        slots=(address,),
        target=target,
        target_key=scene.targets[target].key if target in scene.targets else "",
        reason=Reason.NOTHING_ALLOWED if only_policy else Reason.NOTHING_FITS,
        message=_why_unfilled(scene, slot, options, rejected),
    )
    nearest, missing = _nearest(options, rejected, room)
    return row.model_copy(update={"evidence": RowEvidence(nearest=nearest, missing_bytes=missing)})


def _why_unfilled(scene: Scene, slot: Slot, options: Options, rejected: Sequence[Rejected]) -> str:
    if not scene.desired.pool.allowed_orgs:
        return "nothing may be installed: pool.allowedOrgs is empty"
    if not scene.observation.catalogue.models:
        return "no model is known: the catalogue is empty"
    if options:
        return f"{len(options)} candidates are eligible, but none has room in the budget or on the disk"
    if rejected and all(one.reason in FORBIDDEN for one in rejected):
        return "no known model is of an allowed publisher, family and licence"
    return f"no allowed model serves {slot.profile} within this slot's conditions on this machine"


def _nearest(options: Options, rejected: Sequence[Rejected], room: Room) -> tuple[str | None, Bytes | None]:
    if options:
        small = min(options.smallest(), key=lambda option: (option.bytes, option.name))
        missing = Bytes(max(0, room.lacking(small.place, small.bytes)))
        return (
            f"{_label(small)} needs {show_bytes(small.bytes)}, {show_bytes(missing)} more than there is room",
            missing,
        )
    misses = [one for one in rejected if one.reason in _NEAREST]
    if not misses:
        return None, None

    def distance(one: Rejected) -> tuple[object, ...]:
        short = 0.0
        if one.assessment is not None:
            slow = one.reason == "too-slow"
            short = -one.assessment.speed.tokens_per_second if slow else one.assessment.memory.total_bytes
        elif one.reason == "context-too-long":
            short = -(one.candidate.model.context_length or 0)
        elif one.reason == "too-large":
            short = one.candidate.bytes
        return (_NEAREST.index(one.reason), short, one.candidate.key)

    best = min(misses, key=distance)
    return f"{best.candidate.model.id} at {best.candidate.quant}: {best.message}", None


def _label(option: Option) -> str:
    return f"{option.candidate.model.id} at {option.candidate.quant}"
