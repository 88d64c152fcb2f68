"""``onBaseChange``: whether an adapter that stands on a model keeps that model where it is.

``hold`` keeps both; ``follow`` does so until it is known that the adapter belongs to the successor; ``drop`` never.
What the file no longer allows, or the budget no longer holds, goes all the same.
"""

from __future__ import annotations

from reconciler.domain.adapter import Adapter, RecordAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed, Resolved, Unavailable
from reconciler.planning.adapter_standing import our_adapters
from reconciler.planning.option import Option
from reconciler.planning.scene import Scene

HOW_TO_GO_ON = "write `onBaseChange: drop` or `follow`, or take the adapter out"


def declared(scene: Scene, target: Target, ours: RecordAdapter) -> Adapter | None:
    """The entry of the file that still asks for an adapter of ours on the base it was attached to."""
    return next(
        (
            adapter
            for adapter in scene.desired.adapters
            if adapter.name == ours.adapter
            and not adapter.absent
            and any(one.target == target.name for one in adapter.serve)
            and ours.declared_base in ("", adapter.base)
        ),
        None,
    )


def why_held(scene: Scene, target: Target, base: str, successor: Option | None) -> str:
    """What keeps a base from being replaced, in words; empty: no adapter does.

    Args:
        scene: everything a decision may look at.
        target: of the base.
        base: canonical name of what would go.
        successor: what would fill its slot; None: nothing.
    """
    for ours in our_adapters(scene, target):
        adapter = declared(scene, target, ours) if scene.same_model(target.name, ours.base, base) else None
        if adapter is None or adapter.on_base_change == "drop":
            continue
        stands = f"adapter {adapter.name} stands on {base}"
        if adapter.on_base_change == "hold":
            return f"{stands}, and `onBaseChange: hold` keeps both; {HOW_TO_GO_ON}"
        if why := _why_it_cannot_follow(scene, target, adapter, successor):
            return f"{stands} and cannot follow: {why}; write `onBaseChange: drop`, or take the adapter out"
    return ""


def _why_it_cannot_follow(scene: Scene, target: Target, adapter: Adapter, successor: Option | None) -> str:
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
    if not isinstance(answer, Resolved) or answer.adapter is None:
        return answer.message if isinstance(answer, Unavailable) else "nothing is known of it"
    return answer.adapter.errors[0].message if answer.adapter.errors else ""
