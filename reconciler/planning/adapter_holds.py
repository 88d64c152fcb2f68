"""Whether an adapter that stands on a model keeps that model where it is: by ``onBaseChange``, or as somebody else's.

``hold`` keeps both; ``follow`` does so until it is known that the adapter belongs to the successor; ``drop`` never.
What the file no longer allows, or the budget no longer holds, goes all the same; but never from under an adapter that
is somebody else's, or was ours and was disowned.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.adapter import (
    CANDIDATE_SUFFIX,
    Adapter,
    AdapterServing,
    AdapterVerdict,
    RecordAdapter,
    ServedAdapter,
)
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed, ObservedTarget, Resolved, Unavailable
from reconciler.domain.record import Record
from reconciler.planning.adapter_named import is_named_by, is_slot
from reconciler.planning.adapter_rows import promotion_words
from reconciler.planning.adapter_standing import our_adapters, served_on
from reconciler.planning.option import Option
from reconciler.planning.scene import Scene

_WHOLE_WITHOUT_BASE = ("ollama|",)
"""Kinds of target where an adapter is a model of its own, which keeps the weights it shares when its base goes."""
HOW_TO_GO_ON = "write `onBaseChange: drop` or `follow`, or take the adapter out"
_HOW_TO_LET_GO = "write `onBaseChange: drop`, or take the adapter out"


def declared(scene: Scene, target: Target, ours: RecordAdapter) -> Adapter | None:
    """The entry of the file that still asks for an adapter of ours on the base it was attached to."""
    return next(
        (
            adapter
            for adapter in scene.desired.adapters
            if not adapter.absent
            and any(one.target == target.name and ours.name in names_of(adapter, one) for one in adapter.serve)
            and (ours.declared_base in ("", adapter.base) or is_named_by(scene, target, ours.base, adapter.base))
        ),
        None,
    )


def names_of(adapter: Adapter, serving: AdapterServing) -> tuple[str, ...]:
    """What an adapter may be served as on one target: its name there, and as a candidate where its gate says so."""
    tried = adapter.gate is not None and adapter.gate.on_missing == "serve-as-candidate"
    return (serving.name, serving.name + CANDIDATE_SUFFIX) if tried else (serving.name,)


def goes_with_base(target_key: str) -> bool:
    """An adapter on a target of this kind serves nobody any more once its base is gone."""
    return not target_key.startswith(_WHOLE_WITHOUT_BASE)


def others_on(target: ObservedTarget, record: Record, model: str) -> tuple[ServedAdapter, ...]:
    """Adapters that are not ours, and that nobody could serve any more without a model of their target."""
    if not goes_with_base(target.key):
        return ()
    found = (one for one in target.adapters if one.base == model and not _is_ours(target, record, one))
    return tuple(sorted(found, key=lambda one: one.name))


def _is_ours(target: ObservedTarget, record: Record, served: ServedAdapter) -> bool:
    ours = record.adapter(target.key, served.name)
    return ours is not None and not served.is_foreign_to(ours)


def others_in_words(others: Sequence[ServedAdapter]) -> str:
    """Why a model stays that adapters of others stand on, and what to do, as a clause."""
    names, one = ", ".join(adapter.name for adapter in others), len(others) == 1
    what = f"adapter {names}, which is" if one else f"adapters {names}, which are"
    return f"{what} not ours, {'is' if one else 'are'} served on it: take {'it' if one else 'them'} away there first"


def why_held(scene: Scene, target: Target, base: str, successor: Option | None, *, only_served: bool = False) -> str:
    """What keeps a base from being replaced, in words; empty: no adapter does.

    Args:
        scene: everything a decision may look at.
        target: of the base.
        base: canonical name of what would go.
        successor: what would fill its slot; None: nothing.
        only_served: an adapter that its target lost holds nothing: it is attached to what its slot holds by now.
    """
    for ours in our_adapters(scene, target):
        if only_served and served_on(scene, target, ours.name) is None:
            continue
        adapter = declared(scene, target, ours) if scene.same_model(target.name, ours.base, base) else None
        if adapter is None or adapter.on_base_change == "drop":
            continue
        stands = f"adapter {adapter.name} stands on {base}"
        if adapter.on_base_change == "hold":
            way_on = HOW_TO_GO_ON if is_slot(scene, adapter.base) else _HOW_TO_LET_GO
            return f"{stands}, and `onBaseChange: hold` keeps both; {way_on}"
        if why := _why_it_cannot_follow(scene, target, ours, adapter, successor):
            return f"{stands} and cannot follow: {why}; write `onBaseChange: drop`, or take the adapter out"
    return ""


def _why_it_cannot_follow(
    scene: Scene, target: Target, ours: RecordAdapter, adapter: Adapter, successor: Option | None
) -> str:
    if not is_slot(scene, adapter.base):
        return f"its base is the model {adapter.base}, and no slot"
    if successor is None:
        return "nothing takes the place of its base"
    if successor.target.name != target.name:
        return f"its base goes to {successor.target.name}"
    need = AdapterNeed(
        adapter=adapter.name,
        target=target.name,
        base_id=successor.candidate.model.id,
        base_name=successor.name,
    )
    answer = scene.answer(need)
    if answer is None:
        return ""  # it is asked once the swap is in the plan
    if isinstance(answer, Resolved) and answer.adapter is not None:
        return _why_not_served(ours, adapter, answer.adapter)
    if isinstance(answer, Unavailable) and answer.held is not None and answer.held.fits:
        return _why_not_served(ours, adapter, answer.held)
    return answer.message if isinstance(answer, Unavailable) else "nothing is known of it"


def _why_not_served(ours: RecordAdapter, adapter: Adapter, verdict: AdapterVerdict) -> str:
    """Why what its source is now would not be served on another base under the name that ours has."""
    if verdict.errors:
        return verdict.errors[0].message
    on_missing = adapter.gate.on_missing if adapter.gate is not None else "block"
    waits = on_missing == "block" or (
        on_missing == "serve-as-candidate"
        and ours.digest != verdict.digest
        and any(one.name == ours.name for one in adapter.serve)
    )
    return promotion_words(verdict) if waits else ""
