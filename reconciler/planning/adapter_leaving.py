"""What becomes of a name that an adapter answers to, for what else is to be called so: does it go in this plan?"""

from __future__ import annotations

from typing import Literal

from reconciler.domain.desired import Target
from reconciler.domain.names import same_stable_name
from reconciler.planning.adapter_holds import names_of
from reconciler.planning.adapter_standing import can_let_go, served_on
from reconciler.planning.scene import Scene


def stays(scene: Scene, target: Target, name: str) -> Literal["", "kept", "in-use"]:
    """Whether an adapter keeps a name on an observed target; empty: none has it, or it is ours and is detached now.

    Args:
        scene: everything a decision may look at.
        target: where the name is wanted for something else.
        name: in any spelling.
    """
    here = next(
        (one for one in scene.observed[target.name].adapters if same_stable_name(target.key, one.name, name)), None
    )
    if here is None:
        return ""
    ours = scene.record.adapter(target.key, here.name)
    if ours is None or here.is_foreign_to(ours) or not can_let_go(scene, target) or is_asked_for(scene, target, name):
        return "kept"
    if is_pruned(scene, target, here.name):
        return "in-use" if here.loaded else ""
    return "kept"


def is_asked_for(scene: Scene, target: Target, name: str) -> bool:
    """The file wants an adapter under this name there, or may want one as a candidate."""
    return any(
        same_stable_name(target.key, one, name)
        for adapter in scene.desired.adapters
        if not adapter.absent
        for serving in adapter.serve
        if serving.target == target.name
        for one in names_of(adapter, serving)
    )


def is_pruned(scene: Scene, target: Target, name: str) -> bool:
    """What nobody asks for is detached: ``prune: never`` leaves it while it is served, unless the file says so."""
    ours, served = scene.record.adapter(target.key, name), served_on(scene, target, name)
    if ours is None or served is None or served.is_foreign_to(ours):
        return True
    absent = any(adapter.absent and adapter.name == ours.adapter for adapter in scene.desired.adapters)
    return absent or scene.desired.pool.prune != "never"
