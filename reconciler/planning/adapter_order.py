"""Where the rows of adapters stand in a plan, and whether there is room for their files.

An adapter is attached once its base is there, served and named, and before the base it stood on goes. What nobody asks
for goes last, or before its base does. Files of adapters stand on this host and count once, whoever serves them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.domain.names import same_stable_name
from reconciler.domain.plan import Action, AdapterMove, Budget, Reason, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.planning.adapter_rows import detaching
from reconciler.planning.adapter_standing import can_let_go, our_adapters, served_on
from reconciler.planning.room import HOST, half_fetched_adapters, held_adapters, min_free_bytes
from reconciler.planning.scene import Scene


@dataclass(frozen=True, slots=True)
class Placed:
    """All changes in the order apply runs them, and the budgets with the files of adapters."""

    changes: tuple[Row, ...]
    budgets: tuple[Budget, ...]
    blocked: tuple[Row, ...]
    gone: frozenset[tuple[str, str]]
    """Subjects that are detached because their base goes, whatever was decided of them."""


def among(
    scene: Scene, changes: Sequence[Row], moves: Sequence[Row], removals: Sequence[Row], budgets: Sequence[Budget]
) -> Placed:
    """The changes of models and names with those of adapters among them."""
    room = _Room.of(scene, changes, moves, removals, budgets)
    blocked: list[Row] = []
    early: list[Row] = []
    late: list[Row] = []
    for row in moves:
        found = room.judge(row)
        if isinstance(found, _Short):
            hint = "take something out, or make room there"
            update = {"action": Action.KEEP, "reason": Reason.NO_ROOM, "message": found.in_words, "hint": hint}
            blocked.append(row.model_copy(update={**update, "resolved": True}))
        else:
            sized = row.model_copy(update={"bytes_down": Bytes(found.bytes)})
            (late if found.waits else early).append(sized)
    order = _Order(scene, changes, early, room.with_freed(removals), late)
    order.walk()
    return Placed(tuple(order.done), room.budgets(budgets, scene, order.done), tuple(blocked), frozenset(order.gone))


# ------------------------------------------------------------------------------------------------ order


@dataclass(slots=True)
class _Order:
    """One pass over the changes, with the rows of adapters that still wait for their place."""

    scene: Scene
    changes: Sequence[Row]
    moves: list[Row]
    removals: list[Row]
    late: list[Row]
    """Attached once everything that makes room has gone."""
    done: list[Row] = field(default_factory=list)
    gone: set[tuple[str, str]] = field(default_factory=set)

    def walk(self) -> None:
        for move in [move for move in self.moves if self._last_of_base(move) is None]:
            self._emit(move)
        for index, row in enumerate(self.changes):
            if row.action is Action.EVICT:
                self._before_eviction(index, row)
            self._free_name_for(row)
            self.done.append(row)
            for move in [move for move in self.moves if self._last_of_base(move) == index]:
                self._emit(move)
        self.done += [*self.moves, *self.removals, *self.late]

    def _last_of_base(self, move: Row) -> int | None:
        """The last row that brings the base, has it served or names it, or that gives up the name it is to have."""
        found = [
            index
            for index, row in enumerate(self.changes)
            if row.target == move.target and row.action in (Action.INSTALL, Action.UPDATE)
            if (row.name == move.name and (row.alias is None or row.alias.after is not None))
            or (row.alias is not None and row.alias.after is None and _are_called_alike(row, move))
        ]
        return found[-1] if found else None

    def _free_name_for(self, row: Row) -> None:
        """What is to be called as an adapter that goes waits for that."""
        if row.alias is not None and row.alias.after is not None:
            for old in [old for old in self.removals if old.target == row.target and _are_called_alike(row, old)]:
                self.removals.remove(old)
                self.done.append(old)

    def _emit(self, move: Row) -> None:
        self.moves.remove(move)
        self.done.append(move)

    def _before_eviction(self, index: int, row: Row) -> None:
        for move in [move for move in (*self.moves, *self.late) if self._stood_on(move, row)]:
            if move in self.late or self._base_comes_after(index, move):
                self._with_gap(move, row)
            else:
                self._emit(move)
        for old in [old for old in self.removals if old.target == row.target and self._is(old.name, row)]:
            self.removals.remove(old)
            self.done.append(old.model_copy(update={"slots": () if row.gap else row.slots}))
        self._left_behind(row)

    def _is(self, name: str, row: Row) -> bool:
        return self.scene.same_model(row.target, name, row.name)

    def _stood_on(self, move: Row, row: Row) -> bool:
        before = move.adapter.rebased_from if move.adapter is not None else None
        return move.target == row.target and before is not None and self._is(before, row)

    def _base_comes_after(self, index: int, move: Row) -> bool:
        return any(
            row.fetches and row.target == move.target and row.name == move.name for row in self.changes[index + 1 :]
        )

    def _with_gap(self, move: Row, row: Row) -> None:
        """The old base goes before the new one is there: the adapter is served by nobody until then."""
        adapter = move.adapter or AdapterMove(adapter="", name="", base="")
        message = f"its base {row.name} goes first, and nobody serves it until {move.name} is there"
        gone = adapter.model_copy(update={"base": row.name, "after": None, "verdict": None, "rebased_from": None})
        update = {"action": Action.DETACH, "adapter": gone, "name": row.name, "gap": True, "message": message}
        self.done.append(move.model_copy(update={**update, "bytes_down": Bytes(0)}))
        back = adapter.model_copy(update={"before": None, "rebased_from": None})
        later = move.model_copy(update={"action": Action.ATTACH, "adapter": back, "gap": True})
        for waiting in (self.moves, self.late):
            if move in waiting:
                waiting[waiting.index(move)] = later

    def _left_behind(self, row: Row) -> None:
        """An adapter of ours on a base that goes all the same: detached, so that none points at nothing."""
        target = self.scene.targets[row.target]
        told = {one.subject for one in (*self.done, *self.moves, *self.late) if one.adapter is not None}
        for ours in our_adapters(self.scene, target):
            served = served_on(self.scene, target, ours.name)
            if served is None or served.is_foreign_to(ours) or not self._is(ours.base, row):
                continue
            if not can_let_go(self.scene, target):
                continue
            message = "its base goes, and nothing it belongs to takes its place yet"
            gone = detaching(target.name, ours, served, Reason.BASE_MISSING, message)
            if gone.subject not in told:
                self.gone.add(gone.subject)
                self.done.append(gone.model_copy(update={"slots": () if row.gap else row.slots}))


def _are_called_alike(naming: Row, adapting: Row) -> bool:
    names = naming.alias.name if naming.alias else "", adapting.adapter.name if adapting.adapter else ""
    return same_stable_name(naming.target_key, *names)


# ------------------------------------------------------------------------------------------------ room


@dataclass(frozen=True, slots=True)
class _Fits:
    bytes: int
    """That arrive; 0 where they are held already."""
    waits: bool
    """Only once the models' changes are over."""


@dataclass(frozen=True, slots=True)
class _Short:
    bytes: int
    """That are missing."""
    where: str

    @property
    def in_words(self) -> str:
        return f"{show_bytes(Bytes(self.bytes))} missing {self.where}"


@dataclass(slots=True)
class _Room:
    """Files of adapters on this host as the plan goes on, by digest; sizes of models as their budget has them."""

    limit: int
    peak: int
    after: int
    disk_left: int | None
    """The most that a file system of this host has free after the models, less its reserve; None: nobody told."""
    held: Mapping[str, Bytes]
    halves: Mapping[str, Bytes]
    """What has arrived of those that are not held: it counts, and is part of what comes."""
    unused: frozenset[str]
    """Digests that nothing refers to once the removals are done, and that no row asks for."""
    coming: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    """Bytes of those that come last."""

    @classmethod
    def of(
        cls,
        scene: Scene,
        changes: Sequence[Row],
        moves: Sequence[Row],
        removals: Sequence[Row],
        budgets: Sequence[Budget],
    ) -> _Room:
        host = next((budget for budget in budgets if budget.scope == HOST), None)
        left = {(row.target_key, row.adapter.name) for row in removals if row.adapter is not None}
        used = {one.digest for one in scene.record.adapters if (one.target_key, one.name) not in left}
        used |= {row.adapter.after for row in moves if row.adapter is not None and row.adapter.after is not None}
        held = held_adapters(scene.record)
        limit = int(scene.desired.pool.disk_budget)
        peak, after = (int(host.peak_bytes), int(host.after_bytes)) if host is not None else (0, 0)
        halves = half_fetched_adapters(scene.observation, scene.record)
        return cls(limit, peak, after, _disk_left(scene, changes), held, halves, frozenset(held.keys() - used))

    def judge(self, row: Row) -> _Fits | _Short:
        """Whether the files of a row have room, beside those it replaces, and when; or what is short."""
        verdict = row.adapter.verdict if row.adapter is not None else None
        if verdict is None:
            return _Fits(0, waits=False)
        there = self.held.get(verdict.digest, Bytes(0)) + self.halves.get(verdict.digest, Bytes(0))
        counted = there + self.coming.get(verdict.digest, 0)
        size, arriving = verdict.bytes - counted, sum(self.coming.values())
        if size <= 0:
            return _Fits(0, waits=False)
        if self.disk_left is not None and arriving + size > self.disk_left:
            return _Short(arriving + size - self.disk_left, "on the disk that holds adapters")
        now, later = self.peak + arriving + size, self.after + arriving + size - self._freed(self.unused)
        if later > self.limit:
            return _Short(later - self.limit, "in pool.diskBudget")
        self.coming[verdict.digest] = self.coming.get(verdict.digest, 0) + size
        waits = now > self.limit
        self.waiting += size if waits else 0
        return _Fits(size, waits=waits)

    def _freed(self, digests: Iterable[str]) -> int:
        return sum(self.held[digest] for digest in digests)

    def with_freed(self, removals: Sequence[Row]) -> list[Row]:
        """The removals with the bytes that go with each: those of the last one that used its files."""
        found, left = [], set(self.unused)
        for row in reversed(removals):
            digest = row.adapter.before if row.adapter is not None else None
            size = self.held[digest] if digest is not None and digest in left else Bytes(0)
            left -= {digest or ""}
            found.append(row.model_copy(update={"bytes_freed": size}))
        return found[::-1]

    def budgets(self, budgets: Sequence[Budget], scene: Scene, changes: Sequence[Row]) -> tuple[Budget, ...]:
        """The host's budget with what comes and goes of adapters; the peak is what it can be at most."""
        arriving, before = sum(self.coming.values()), self.after + sum(self.coming.values())
        after = before - self._freed(self.held.keys() - _used_after(scene, changes))
        peak = max(self.peak + arriving - self.waiting, before - self._freed(self.unused))
        update = {"peak_bytes": Bytes(peak), "after_bytes": Bytes(after)}
        return tuple(one.model_copy(update=update) if one.scope == HOST else one for one in budgets)


def _used_after(scene: Scene, changes: Sequence[Row]) -> set[str]:
    """Digests that some attachment uses once every change is done."""
    uses = {(one.target_key, one.name): one.digest for one in scene.record.adapters}
    for row in changes:
        if row.adapter is None:
            continue
        if row.adapter.after is None or row.action is Action.FORGET:
            uses.pop((row.target_key, row.adapter.name), None)
        else:
            uses[row.target_key, row.adapter.name] = row.adapter.after
    return set(uses.values())


def _disk_left(scene: Scene, changes: Sequence[Row]) -> int | None:
    """On the file system that holds them; where nobody told which, the roomiest that was seen must be enough."""
    own = scene.observation.adapter_disk
    free = {own.device: own.free_bytes - min_free_bytes(scene, own)} if own is not None else {}
    for target in scene.desired.targets:
        observed = scene.observed.get(target.name)
        if not target.is_local or observed is None or observed.disk is None:
            continue
        space = observed.disk
        free.setdefault(space.device, space.free_bytes - min_free_bytes(scene, space))
        free[space.device] += sum(row.bytes_freed - row.bytes_down for row in changes if row.target == target.name)
    return free[own.device] if own is not None else max(free.values(), default=None)
