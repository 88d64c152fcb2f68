"""What of our adapters stands where, as the record says and as a look found it; and whether the two agree."""

from __future__ import annotations

from reconciler.domain.adapter import RecordAdapter, ServedAdapter, is_place_of, is_same_scale
from reconciler.domain.desired import Target
from reconciler.domain.plan import Drift
from reconciler.planning.scene import Scene


def served_on(scene: Scene, target: Target, name: str) -> ServedAdapter | None:
    """The adapter that answers to a name on an observed target, whoever attached it."""
    observed = scene.observed.get(target.name)
    return next((one for one in observed.adapters if one.name == name), None) if observed is not None else None


def our_adapters(scene: Scene, target: Target) -> tuple[RecordAdapter, ...]:
    """What we attached on a target."""
    return tuple(one for one in scene.record.adapters if one.target_key == target.key)


def can_let_go(scene: Scene, target: Target) -> bool:
    """An observed target detaches what it is told to."""
    observed = scene.observed[target.name]
    return observed.takes_adapters is not None or observed.detaches_adapters


def how_it_drifted(scene: Scene, target: Target, served: ServedAdapter, ours: RecordAdapter) -> str:
    """What of an adapter of ours is not as we attached it; empty: nothing that the target tells.

    A target that names a file of our store, and yet not its content, has the file and does not apply it.
    """
    if served.damaged:
        return "our copy that its server reads was damaged, or is gone"
    if served.amiss is not None:
        return served.amiss
    if served.digest is not None and served.digest != ours.digest:
        return "it is served with other content than we attached"
    if served.path is not None and served.path != ours.path:
        return f"it is served from {served.path}"
    if served.digest is None and served.path is not None:
        if is_place_of(served.path, ours.digest):
            return "its server was told to serve it and does not"
        return f"it was read from {served.path}, and nobody can say what stood there then"
    if served.base is not None and not scene.same_model(target.name, served.base, ours.base):
        return f"it is served on {served.base}"
    if served.scale is not None and not is_same_scale(served.scale, ours.scale):
        return f"it is served at scale {served.scale:g} instead of {ours.scale:g}"
    return ""


def adapter_drift(scene: Scene) -> tuple[Drift, ...]:
    """Adapters of ours that are not as we recorded them, on targets that answered."""
    found = []
    for target in scene.desired.targets:
        if target.name not in scene.observed:
            continue
        for ours in our_adapters(scene, target):
            served = served_on(scene, target, ours.name)
            if served is None:
                found.append(Drift(target=target.name, name=ours.name, kind="missing", before=ours.digest))
            elif how_it_drifted(scene, target, served, ours):
                found.append(
                    Drift(
                        target=target.name,
                        name=ours.name,
                        kind="content-changed",
                        before=ours.digest,
                        after=served.digest,
                    )
                )
    return tuple(found)
