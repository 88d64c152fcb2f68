"""How much may still be put where: budgets and file systems as one kind of limit.

A scope is a budget (this host's, or one target's own) or a file system. What is ours is committed to every scope of
its target; a file system's limit is what is free beyond the reserve plus what we already hold there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.domain.desired import Target
from reconciler.domain.observation import DiskSpace, Observation, ObservedTarget, TargetObservation
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes, show_bytes
from reconciler.planning.scene import Scene

HOST = "host"
Place = tuple[str, str]
"""(target name, model name)."""


@dataclass(frozen=True, slots=True)
class Room:
    """Limits, and what is committed against them. ``with_…`` returns a new one."""

    limits: Mapping[str, int]
    scopes_of: Mapping[str, tuple[str, ...]]
    """Scopes by target name, the budget first."""
    committed: Mapping[Place, int]

    def used(self, scope: str) -> int:
        return sum(size for place, size in self.committed.items() if scope in self.scopes_of[place[0]])

    def lacking(self, place: Place, size: int, *, reserve: Mapping[Place, int] | None = None) -> int:
        """Bytes missing to hold ``size`` more at ``place`` and the reserve beside it; 0 when it fits.

        What is committed already costs nothing more.
        """
        wanted = {place: size, **(reserve or {})}
        new = {where: need for where, need in wanted.items() if where not in self.committed}
        if not new:
            return 0
        return max(
            (
                self.used(scope) + _in_scope(new, scope, self.scopes_of) - self.limits[scope]
                for scope in self.scopes_of[place[0]]
            ),
            default=0,
        )

    def tightest(self, place: Place, size: int) -> str:
        """What lacks most for ``size`` more at ``place``, as a person calls it: ``of the budget``, ``on the disk``."""
        scope = max(self.scopes_of[place[0]], key=lambda one: self.used(one) + size - self.limits[one])
        return "on the disk" if scope != self.scopes_of[place[0]][0] else "of the budget"

    def fits(self, place: Place, size: int, *, reserve: Mapping[Place, int] | None = None) -> bool:
        return self.lacking(place, size, reserve=reserve) <= 0

    def with_(self, place: Place, size: int) -> Room:
        return replace(self, committed={**self.committed, place: size})

    def without(self, place: Place) -> Room:
        return replace(self, committed={where: size for where, size in self.committed.items() if where != place})


def _in_scope(sizes: Mapping[Place, int], scope: str, scopes_of: Mapping[str, tuple[str, ...]]) -> int:
    return sum(size for place, size in sizes.items() if scope in scopes_of[place[0]])


def budget_scope(target: Target) -> str:
    """Whose budget a target uses: the host's, or its own."""
    return HOST if target.is_local and target.disk_budget is None else target.name


def over_budget(scene: Scene, target: Target, size: int) -> str:
    """That files alone are more than the whole budget of their target; empty where they are not."""
    budget = target.disk_budget or scene.desired.pool.disk_budget
    return f"would not fit the disk budget: {show_bytes(size)} of {show_bytes(budget)}" if size > budget else ""


def held_adapters(record: Record) -> Mapping[str, Bytes]:
    """Files of adapters that stand on this host, by their digest: targets that share one hold it once."""
    found: dict[str, Bytes] = {}
    for one in record.adapters:
        found[one.digest] = max(one.bytes, found.get(one.digest, Bytes(0)))
    return found


def half_fetched_adapters(observation: Observation, record: Record) -> Mapping[str, Bytes]:
    """What has arrived of adapters on this host, by their digest, whose files do not count as held."""
    held = held_adapters(record)
    return {one.name: one.bytes for one in observation.adapter_partials if one.name not in held}


def min_free_bytes(scene: Scene, disk: DiskSpace) -> Bytes:
    """What must stay free on a file system."""
    return scene.desired.pool.must_stay_free(disk.total_bytes)


def owned_sizes(scene: Scene) -> Mapping[Place, Bytes]:
    """What is ours and really there, with its size as observed."""
    found: dict[Place, Bytes] = {}
    for target in scene.desired.targets:
        for entry in scene.record.entries:
            if entry.target_key != target.key:
                continue
            installed = scene.installed(target.name, entry.name)
            if installed is not None:
                found[target.name, entry.name] = installed.bytes or entry.bytes  # a server elsewhere does not tell
    return found


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What has arrived of downloads that this record began, on one target under one name."""

    bytes: int
    can_go: bool
    """The target can throw it away by its name; else it stays until the download ends or the server clears it."""


def unfinished(record: Record, targets: Iterable[TargetObservation]) -> Mapping[Place, Unfinished]:
    """Unfinished downloads of ours by place; what others left on a target is not ours to count or to throw away.

    A target that tells no sizes by name has all of it under the one name that was begun there, or under no name.
    """
    found: dict[Place, Unfinished] = {}
    for target in targets:
        if not isinstance(target, ObservedTarget) or not target.partial_bytes:
            continue
        begun = {
            intent.name
            for intent in record.intents
            if intent.target_key == target.key and intent.action in ("install", "update")
        }
        sizes = {partial.name: int(partial.bytes) for partial in target.partials if partial.name in begun}
        if begun and not target.partials:
            sizes = {next(iter(begun)) if len(begun) == 1 else "": int(target.partial_bytes)}
        for name, size in sizes.items():
            found[target.name, name] = Unfinished(size, can_go=name in target.partial_names)
    return found


def resumable_bytes(target: ObservedTarget, name: str) -> int:
    """What is on the disk already of the download of one model, whoever began it."""
    if target.partials:
        return sum(partial.bytes for partial in target.partials if partial.name == name)
    return target.partial_bytes if target.partial_names == (name,) else 0


def empty_room(scene: Scene, *, holding: Iterable[Place]) -> Room:
    """The room before anything is picked: only ``holding`` (what stays whatever happens) is committed."""
    sizes = owned_sizes(scene)
    limits: dict[str, int] = {}
    scopes_of: dict[str, tuple[str, ...]] = {}
    for target in scene.desired.targets:
        scope = budget_scope(target)
        limits[scope] = target.disk_budget or scene.desired.pool.disk_budget
        scopes_of[target.name] = (scope,)
        observed = scene.observed.get(target.name)
        if observed is not None and observed.disk is not None:
            device = f"disk {observed.disk.device}"
            scopes_of[target.name] = (scope, device)
            limits.setdefault(device, observed.disk.free_bytes - min_free_bytes(scene, observed.disk))
    if HOST in limits:
        limits[HOST] -= sum(held_adapters(scene.record).values())
        limits[HOST] -= sum(half_fetched_adapters(scene.observation, scene.record).values())
    halves = unfinished(scene.record, scene.observed.values())
    for (target_name, _), size in (*sizes.items(), *((place, half.bytes) for place, half in halves.items())):
        for scope in scopes_of[target_name][1:]:
            limits[scope] += size
    stays = {place: half.bytes for place, half in halves.items() if not place[1]}
    return Room(limits, scopes_of, {**stays, **{place: sizes[place] for place in holding if place in sizes}})
