"""In which order, and whether there is room: make before break, the disk and the budget held after every step.

Old and new must fit together. What nothing asks for goes first, and only as much of it as is needed; what a swap
replaces goes right after its successor is there. Where a swap does not fit it is blocked, unless ``allowGap``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from reconciler.domain.observation import Installed
from reconciler.domain.plan import Action, Budget, Reason, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.planning.room import (
    HOST,
    Place,
    Unfinished,
    budget_scope,
    half_fetched_adapters,
    held_adapters,
    min_free_bytes,
    owned_sizes,
    resumable_bytes,
    unfinished,
)
from reconciler.planning.scene import Scene


@dataclass(frozen=True, slots=True)
class Ordered:
    """Changes in the order apply runs them, what found no room, and the budgets along the way."""

    changes: tuple[Row, ...]
    kept: tuple[Row, ...]
    blocked: tuple[Row, ...]
    budgets: tuple[Budget, ...]


def order(scene: Scene, changes: Iterable[Row], *, waiting: Iterable[Row] = ()) -> Ordered:
    """Put rows in an order that never over-fills; rows that cannot be placed come back as blocked or kept.

    Args:
        scene: what is there.
        changes: rows as the comparison found them.
        waiting: rows that do not run now and may later: their unfinished downloads are kept.
    """
    rows = tuple(changes)
    disk = _Disk.of(scene)
    wanting = [row for row in rows if row.action in (Action.INSTALL, Action.UPDATE) and not row.only_serves]
    if rows:
        disk.clean({(row.target, row.name) for row in (*wanting, *waiting)})
    coming = {address for row in wanting for address in row.slots}
    walk = _Walk(scene, disk, [row for row in rows if row.action is Action.EVICT], coming)
    walk.done.extend(row for row in rows if row.action is Action.FORGET)
    while wanting:
        placed = [row for row in wanting if walk.place(row)]
        if not placed and scene.desired.pool.allow_gap:
            gapped = next((row for row in wanting if walk.place_with_gap(row)), None)
            placed = [gapped] if gapped is not None else []
        if not placed:
            break
        wanting = [row for row in wanting if row not in placed]
    for row in wanting:
        walk.block(row)
    walk.done.extend(row for row in rows if row.only_serves)
    walk.finish()
    return Ordered(tuple(walk.done), tuple(walk.kept), tuple(walk.blocked), disk.budgets(scene, walk.done))


@dataclass(slots=True)
class _Disk:
    """Bytes of ours by place as the plan goes on, and the free bytes of each file system."""

    held: dict[Place, int]
    limits: dict[str, int]
    scope_of: dict[str, str]
    device_of: dict[str, str]
    free: dict[str, int]
    adapters: int = 0
    """Bytes of the adapters held on this host, and of those that are half fetched."""
    halves: dict[Place, Unfinished] = field(default_factory=dict)
    """Downloads that we began and that are not whole."""
    peak: dict[str, int] = field(default_factory=dict)
    used_before: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, scene: Scene) -> _Disk:
        halves = dict(unfinished(scene.record, scene.observed.values()))
        disk = cls(held=dict(owned_sizes(scene)), limits={}, scope_of={}, device_of={}, free={}, halves=halves)
        disk.adapters = sum(held_adapters(scene.record).values())
        disk.adapters += sum(half_fetched_adapters(scene.observation, scene.record).values())
        if disk.adapters or scene.desired.adapters:
            disk.limits[HOST] = scene.desired.pool.disk_budget
        for target in scene.desired.targets:
            scope = budget_scope(target)
            disk.scope_of[target.name] = scope
            disk.limits[scope] = target.disk_budget or scene.desired.pool.disk_budget
            space = scene.observed[target.name].disk if target.name in scene.observed else None
            if space is not None:
                disk.device_of[target.name] = space.device
                disk.free[space.device] = space.free_bytes - min_free_bytes(scene, space)
        for scope in disk.limits:
            disk.used_before[scope] = disk.peak[scope] = disk.used(scope)
        return disk

    def used(self, scope: str) -> int:
        held = sum(size for (target, _), size in self.held.items() if self.scope_of[target] == scope)
        held += sum(half.bytes for (target, _), half in self.halves.items() if self.scope_of[target] == scope)
        return held + (self.adapters if scope == HOST else 0)

    def begun(self, row: Row) -> int:
        """What has arrived of a row's own download: part of what the row brings, so that it counts once."""
        half = self.halves.get((row.target, row.name))
        return half.bytes if half is not None else 0

    def clean(self, wanted: Collection[Place]) -> None:
        """Unfinished downloads that nothing asks for go before anything is fetched, where the target can let go."""
        for place, half in list(self.halves.items()):
            if half.can_go and place not in wanted:
                del self.halves[place]
                self._free(place[0], half.bytes)

    def add(self, row: Row, resumed: int) -> None:
        """The new content arrives beside the old; an update then gives the old bytes back."""
        scope, place = self.scope_of[row.target], (row.target, row.name)
        self.halves.pop(place, None)
        self.peak[scope] = max(self.peak[scope], self.used(scope) + row.bytes_down)
        self.held[place] = row.bytes_down
        self._free(row.target, row.bytes_freed + resumed - row.bytes_down)

    def drop(self, row: Row) -> None:
        self._free(row.target, self.held.pop((row.target, row.name), 0))

    def _free(self, target: str, change: int) -> None:
        device = self.device_of.get(target)
        if device is not None:
            self.free[device] += change

    def budgets(self, scene: Scene, changes: Sequence[Row]) -> tuple[Budget, ...]:
        found = []
        for scope in sorted(self.limits):
            here = [target for target in scene.desired.targets if self.scope_of[target.name] == scope]
            spaces = [scene.observed[target.name].disk for target in here if target.name in scene.observed]
            space = next((space for space in spaces if space is not None), None)
            fetched = [row for row in changes if self.scope_of[row.target] == scope]
            found.append(
                Budget(
                    scope=scope,
                    limit_bytes=Bytes(self.limits[scope]),
                    used_bytes=Bytes(self.used_before[scope]),
                    peak_bytes=Bytes(self.peak[scope]),
                    after_bytes=Bytes(self.used(scope)),
                    free_disk_bytes=space.free_bytes if space else None,
                    min_free_bytes=min_free_bytes(scene, space) if space else None,
                    exact=all(row.resolved for row in fetched),
                )
            )
        return tuple(found)


@dataclass(slots=True)
class _Walk:
    """One pass over the rows, with what may still be evicted to make room."""

    scene: Scene
    disk: _Disk
    evictions: list[Row]
    coming: set[str]
    """Slot addresses that a download of this plan is still to fill."""
    done: list[Row] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    blocked: list[Row] = field(default_factory=list)

    def place(self, row: Row) -> bool:
        """Put a download next if it fits, after evicting what nothing asks for as far as needed."""
        victims: list[Row] = []
        for victim in [*self._spare(row), None]:
            if self._lacking(row, victims) <= 0:
                self._commit(row, victims)
                return True
            if victim is not None:
                victims.append(victim)
        return False

    def place_with_gap(self, row: Row) -> bool:
        """Let what the row replaces go first, where the file allows a gap."""
        victims = [*self._spare(row), *self._replaced_by(row)]
        if not self._replaced_by(row) or self._lacking(row, victims) > 0:
            return False
        self._commit(row.model_copy(update={"gap": True}), victims, gap=True)
        return True

    def block(self, row: Row) -> None:
        """No room: the row changes nothing, and what it would have replaced stays."""
        swap = self._replaced_by(row) or row.action is Action.UPDATE
        missing = Bytes(self._lacking(row, self._spare(row)))
        reason = Reason.NO_ROOM_TO_SWAP if swap else Reason.NO_ROOM
        message = self._what_is_short(row, missing) + (" to hold the old and the new together" if swap else "")
        evidence = row.evidence.model_copy(update={"missing_bytes": missing})
        self.blocked.append(
            row.model_copy(
                update={
                    "action": Action.KEEP,
                    "reason": reason,
                    "message": message,
                    "evidence": evidence,
                    "resolved": True,
                }
            )
        )
        for old in self._replaced_by(row):
            self.evictions.remove(old)
            self.kept.append(_stays(old, Reason.REPLACEMENT_BLOCKED, "its replacement has no room"))

    def _what_is_short(self, row: Row, missing: int) -> str:
        """Which limit to raise: the budget, or what is free on the disk."""
        scope, device = self.disk.scope_of[row.target], self.disk.device_of.get(row.target)
        over_budget = self.disk.used(scope) - self.disk.begun(row) + row.bytes_down - self.disk.limits[scope]
        over_disk = row.bytes_down - self._resumed(row) - self.disk.free[device] if device is not None else 0
        budget = "pool.diskBudget" if scope == HOST else f"the diskBudget of target {scope}"
        return f"{show_bytes(missing)} missing {'on the disk' if over_disk > over_budget else f'in {budget}'}"

    def finish(self) -> None:
        """Evictions come last; under ``prune: pressure`` what no room was needed for stays."""
        for row in sorted(self.evictions, key=lambda row: eviction_key(self.scene, row)):
            if self.scene.desired.pool.prune == "pressure" and not self._over_budget(row):
                spare = row.model_copy(update={"slots": ()})
                self.kept.append(_stays(spare, Reason.PRUNE_OFF, "prune: pressure, and no room is needed"))
            else:
                self._evict(row)

    def _over_budget(self, row: Row) -> bool:
        scope = self.disk.scope_of[row.target]
        return self.disk.used(scope) > self.disk.limits[scope]

    def _commit(self, row: Row, victims: Sequence[Row], *, gap: bool = False) -> None:
        for victim in victims:
            self._evict(victim.model_copy(update={"gap": True}) if gap and self._waits(victim) else victim)
        self.disk.add(row, self._resumed(row))
        self.done.append(row)
        replaced = self._replaced_by(row)
        self.coming -= set(row.slots)
        for old in replaced:
            if not self._waits(old) and self.scene.desired.pool.prune != "pressure":
                self._evict(old)

    def _evict(self, row: Row) -> None:
        self.evictions = [other for other in self.evictions if (other.target, other.name) != (row.target, row.name)]
        self.disk.drop(row)
        self.done.append(row)

    def _lacking(self, row: Row, victims: Sequence[Row]) -> int:
        """What is missing once the victims are gone; a victim frees only the budget and the disk it is on."""
        scope, device = self.disk.scope_of[row.target], self.disk.device_of.get(row.target)
        in_scope = sum(victim.bytes_freed for victim in victims if self.disk.scope_of[victim.target] == scope)
        on_disk = sum(victim.bytes_freed for victim in victims if self.disk.device_of.get(victim.target) == device)
        over_budget = self.disk.used(scope) - self.disk.begun(row) + row.bytes_down - in_scope - self.disk.limits[scope]
        over_disk = row.bytes_down - self._resumed(row) - on_disk - self.disk.free[device] if device is not None else 0
        return max(0, over_budget, over_disk)

    def _spare(self, row: Row) -> list[Row]:
        """What nothing asks for, worst first: score, then last use, then age. Only where it would free room."""
        scope, device = self.disk.scope_of[row.target], self.disk.device_of.get(row.target)
        useful = [
            victim
            for victim in self.evictions
            if not self._waits(victim)
            and (self.disk.scope_of[victim.target] == scope or self.disk.device_of.get(victim.target) == device)
        ]
        return sorted(useful, key=lambda victim: eviction_key(self.scene, victim))

    def _waits(self, victim: Row) -> bool:
        """It fills a slot that something yet to come will fill: it stays until all of that is there."""
        return bool(self.coming & set(victim.slots))

    def _replaced_by(self, row: Row) -> list[Row]:
        """Evictions whose slots this row fills, wholly or in part."""
        return [old for old in self.evictions if set(old.slots) & set(row.slots)]

    def _resumed(self, row: Row) -> int:
        """Bytes of an unfinished download of this very row that are on the disk already."""
        return self.disk.begun(row) or resumable_bytes(self.scene.observed[row.target], row.name)


def eviction_key(scene: Scene, row: Row) -> tuple[float, float, float, str]:
    """Ascending: the lowest score goes first, then the longest unused, then the oldest."""
    entry = scene.entry(row.target_key, row.name)
    installed: Installed | None = scene.installed(row.target, row.name)
    last = (installed.last_used_at if installed else None) or (entry.last_used_at if entry else None)
    return (
        entry.score if entry else 0.0,
        last.timestamp() if last else 0.0,
        entry.installed_at.timestamp() if entry else 0.0,
        row.name,
    )


def _stays(row: Row, reason: Reason, message: str) -> Row:
    return row.model_copy(
        update={
            "action": Action.KEEP,
            "reason": reason,
            "message": message,
            "bytes_freed": Bytes(0),
            "after": row.before,
        }
    )
