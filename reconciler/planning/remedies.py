"""What would make a rejected candidate eligible: everything in its way, in order, and the builds that stand ready.

Each remedy is tried before it is told: the candidate is judged again as if the file, the slot or the question said so,
until nothing is in the way or nobody can help.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.domain.desired import Pool, Slot, Target
from reconciler.domain.estimate import KvCache
from reconciler.domain.names import glob_matches
from reconciler.domain.units import GB, Bytes, show_bytes
from reconciler.planning.eligible import judge, requirement_of
from reconciler.planning.option import Option, Rejected, RejectionReason
from reconciler.planning.scene import Scene, names_of
from reconciler.ranking.named import profiles_served_by

SMALLER_CACHES: tuple[KvCache, ...] = ("q8_0", "q4_0")
_MOST_STEPS = 8


@dataclass(frozen=True, slots=True)
class Way:
    """One obstacle and what a person does about it."""

    text: str
    scene: Scene | None = None
    """The scene as it would be then."""
    slot: Slot | None = None
    """The slot as it would be then. Neither: nothing that a person writes helps."""


def remedies(scene: Scene, slot: Slot, rejected: Rejected, ranked: Sequence[Option | Rejected]) -> tuple[str, ...]:
    """What would change the verdict, in sentences: by the file, by the question, by another build of the model.

    Args:
        scene: the file, the machine and the catalogue.
        slot: what was asked.
        rejected: the verdict, with its target.
        ranked: every build of the same model, best first.
    """
    return (
        *_ways_in(scene, slot, rejected),
        *_smaller_cache(scene, slot, rejected),
        *_other_build(scene, slot, rejected, ranked),
    )


def raised_budget(target: Target, size: int) -> str:
    """The disk budget that files alone would take."""
    least = f"{math.ceil(size / GB)}GB"
    where = f"let the target hold it: diskBudget: {least}" if target.disk_budget else None
    return where or f"raise the disk budget: localmodels pool set-budget {least}"


def _ways_in(scene: Scene, slot: Slot, rejected: Rejected) -> Iterable[str]:
    """Obstacle after obstacle: what lies behind one shows only when that one is gone."""
    verdict: Option | Rejected = rejected
    for step in range(_MOST_STEPS):
        if isinstance(verdict, Option):
            return
        way = REMEDIES[verdict.reason](scene, slot, verdict)
        yield f"and {way.text}" if step else way.text
        if way.scene is None and way.slot is None:
            return
        before, scene, slot = verdict, way.scene or scene, way.slot or slot
        verdict = judge(scene, slot, rejected.target, rejected.candidate)
        if isinstance(verdict, Rejected) and verdict.reason == before.reason:
            return


def _smaller_cache(scene: Scene, slot: Slot, rejected: Rejected) -> Iterable[str]:
    """The first smaller type of cache with which it is eligible at the context that was asked."""
    if rejected.reason != "does-not-fit":
        return
    for kind in SMALLER_CACHES:
        verdict = judge(scene, slot.model_copy(update={"kv_cache": kind}), rejected.target, rejected.candidate)
        if isinstance(verdict, Option):
            yield f"it fits with a {kind} cache (kvCache: {kind}): {_memory_of(verdict)} at {verdict.context} tokens"
            return


def _other_build(scene: Scene, slot: Slot, rejected: Rejected, ranked: Sequence[Option | Rejected]) -> Iterable[str]:
    """The best build that is eligible; where none is, the one with the longest context, and one of a lower quant."""
    ready = next((one for one in ranked if isinstance(one, Option)), None)
    if ready is not None:
        yield f"{_named(ready)} is eligible: it needs {_memory_of(ready)} at {ready.context} tokens"
        return
    unfit = [one for one in ranked if isinstance(one, Rejected) and one.reason == "does-not-fit"]
    longest = max(unfit, key=_most_context, default=rejected)
    if _most_context(longest) > _most_context(rejected):
        yield f"{_named(longest)} fits at {_most_context(longest)} tokens"
    for one in ranked:
        if isinstance(one, Rejected) and one.reason == "quant-below-floor":
            accepted = slot.model_copy(update={"quants": (one.candidate.quant,)})
            if isinstance(judge(scene, accepted, one.target, one.candidate), Option):
                yield f"{_named(one)} would fit, at a loss of quality: quants: [{one.candidate.quant}] accepts it"
                return


def _most_context(rejected: Rejected) -> int:
    return rejected.assessment.memory.max_context or 0 if rejected.assessment else 0


def _named(verdict: Option | Rejected) -> str:
    return f"{verdict.candidate.quant} of {verdict.candidate.repository.id}"


def _memory_of(option: Option) -> str:
    return show_bytes(option.assessment.memory.total_bytes)


def _pool(scene: Scene, **changes: object) -> Scene:
    pool = scene.desired.pool.model_copy(update=changes)
    return replace(scene, desired=scene.desired.model_copy(update={"pool": pool}))


def _publisher(scene: Scene, _: Slot, one: Rejected) -> Way:
    publisher = one.candidate.model.publisher
    allowed = (*scene.desired.pool.allowed_orgs, publisher)
    return Way(f"allow its publisher: localmodels pool allow-org {publisher}", _pool(scene, allowed_orgs=allowed))


def _packager(scene: Scene, _: Slot, one: Rejected) -> Way:
    name = one.candidate.repository.organisation
    packagers = (*scene.desired.pool.packagers, name)
    return Way(f"add {name} to pool.packagers: it packages these files", _pool(scene, packagers=packagers))


def _family(scene: Scene, _: Slot, one: Rejected) -> Way:
    family = f"{one.candidate.model.lineage}{one.candidate.model.generation}"
    families = (*scene.desired.pool.allowed_families, family)
    return Way(f"allow its family: localmodels pool allow-family {family}", _pool(scene, allowed_families=families))


def _license(scene: Scene, _: Slot, one: Rejected) -> Way:
    name = one.candidate.model.license
    if name is None:
        return Way("its licence is not known: only a pool without allowedLicenses takes it")
    licenses = (*scene.desired.pool.allowed_licenses, name)
    return Way(f"add {name} to pool.allowedLicenses", _pool(scene, allowed_licenses=licenses))


def _never(scene: Scene, _: Slot, one: Rejected) -> Way:
    patterns = _forbidding(scene.desired.pool, one)
    left = tuple(pattern for pattern in scene.desired.pool.never if pattern not in patterns)
    return Way(f"take {' and '.join(map(repr, patterns))} out of pool.never", _pool(scene, never=left))


def _forbidding(pool: Pool, one: Rejected) -> tuple[str, ...]:
    names = names_of(one.candidate)
    return tuple(pattern for pattern in pool.never if any(glob_matches(pattern, name) for name in names))


def _line(_: Scene, slot: Slot, one: Rejected) -> Way:
    serves = profiles_served_by(one.candidate.model)
    if not serves:
        return Way(f"no profile is served by a {one.candidate.model.line} model")
    return Way(f"ask with --profile {' or '.join(serves)}", slot=slot.model_copy(update={"profile": serves[0]}))


def _capability(_: Scene, slot: Slot, one: Rejected) -> Way:
    claimed = {name for name, _ in one.candidate.model.capabilities}
    left = tuple(name for name in slot.capabilities if name in claimed)
    missing = ", ".join(name for name in slot.capabilities if name not in claimed)
    text = f"take {missing} out of the slot's capabilities: no source says that it can do this"
    return Way(text, slot=slot.model_copy(update={"capabilities": left}))


def _context(scene: Scene, slot: Slot, one: Rejected) -> Way:
    """The context that works: the model's own, or what fits of it."""
    longest = one.candidate.model.context_length
    at_most = slot.model_copy(update={"context": longest})
    verdict = judge(scene, at_most, one.target, one.candidate)
    fitting = _most_context(verdict) if isinstance(verdict, Rejected) and verdict.reason == "does-not-fit" else 0
    if fitting:
        text = f"ask for at most {fitting} tokens: its own context ends at {longest}, and no more than that fits"
        return Way(text, slot=slot.model_copy(update={"context": fitting}))
    return Way(f"ask for at most {longest} tokens: its own context ends there", slot=at_most)


def _installable(_: Scene, __: Slot, one: Rejected) -> Way:
    if one.target.runtime == "store" or one.candidate.repository.format != "gguf":
        return Way("another repository of the same model, in a format that the target reads")
    return Way("a target of runtime store can hold it")


def _quant(_: Scene, slot: Slot, one: Rejected) -> Way:
    quant = one.candidate.quant
    text = f"name it in the slot to accept it all the same: quants: [{quant}]"
    return Way(text, slot=slot.model_copy(update={"quant": None, "quants": (*slot.quants, quant)}))


def _size(_: Scene, slot: Slot, one: Rejected) -> Way:
    tenths = math.ceil(one.candidate.bytes * 10 / GB)
    most = Bytes(tenths * GB // 10)
    return Way(f"let the slot take it: maxSize: {tenths / 10:.1f}GB", slot=slot.model_copy(update={"max_size": most}))


def _fit(scene: Scene, slot: Slot, one: Rejected) -> Way:
    assessment = one.assessment
    if assessment is None:
        return Way("a machine with more memory")
    context, memory = requirement_of(slot, one.candidate.model).context, assessment.memory
    missing = show_bytes(memory.total_bytes - scene.hardware(one.target).capacity_bytes)
    if not memory.max_context:
        return Way(f"a machine with {missing} more memory for it at {context} tokens: here it fits at no context")
    smaller = slot.model_copy(update={"context": memory.max_context})
    return Way(f"it fits at {memory.max_context} tokens, not at {context}: that needs {missing} more", slot=smaller)


def _speed(_: Scene, slot: Slot, one: Rejected) -> Way:
    speed = one.assessment.speed.tokens_per_second if one.assessment else 0.0
    most = math.floor(speed * 10) / 10
    if most <= 0:
        return Way("a faster machine")
    text = f"let the slot be slower: minTokensPerSecond: {most:g}"
    return Way(text, slot=slot.model_copy(update={"min_tokens_per_second": most}))


def _always(text: str) -> Callable[[Scene, Slot, Rejected], Way]:
    return lambda _, __, ___: Way(text)


REMEDIES: Mapping[RejectionReason, Callable[[Scene, Slot, Rejected], Way]] = {
    "publisher-not-allowed": _publisher,
    "packager-not-allowed": _packager,
    "family-not-allowed": _family,
    "license-not-allowed": _license,
    "never-listed": _never,
    "wrong-line": _line,
    "capability-unknown": _capability,
    "context-too-long": _context,
    "not-installable-here": _installable,
    "quant-below-floor": _quant,
    "quant-not-known": _quant,
    "quant-not-accepted": _quant,
    "too-large": _size,
    "does-not-fit": _fit,
    "too-slow": _speed,
    "no-room": _always("make room: raise pool.diskBudget, or evict what is not needed"),
    "unavailable": _always("try again when its source answers, or take another repository of the same model"),
}
"""What lifts each rejection."""
