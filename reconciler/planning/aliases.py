"""Stable names: which rows make, move and remove them, and where in a plan those stand.

A name is made or moved once the model it will stand for is there, and before the model it stood for goes. It is never
taken from somebody else: what we did not make, or what does not look like a name at all, is told and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from reconciler.domain.advice import quoted
from reconciler.domain.desired import Target
from reconciler.domain.names import same_stable_name, stable_name_key
from reconciler.domain.observation import Alias
from reconciler.domain.plan import Action, AliasMove, Reason, Row
from reconciler.domain.record import RecordAlias
from reconciler.planning.adapter_leaving import stays
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick

NAMED_BY = ("store", "ollama", "llama-server")
"""Runtimes that can give a model a second name; a llama-server needs its preset file for it."""
_HINT = "start it with --models-preset FILE, and write `preset: FILE` at the target"


@dataclass(slots=True)
class Named:
    """The rows of stable names by what becomes of them, and the changes with theirs among them."""

    changes: tuple[Row, ...] = ()
    deferred: list[Row] = field(default_factory=list)
    blocked: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One name that a slot asks for, and the model it is to stand for."""

    name: str
    target: Target
    model: str
    context: int
    address: str


def name_slots(scene: Scene, picks: Sequence[Pick], changes: Sequence[Row], blocked: Sequence[Row]) -> Named:
    """Put the rows of stable names into an ordered plan.

    Args:
        scene: everything a decision may look at.
        picks: what fills the slots.
        changes: in the order apply runs them.
        blocked: rows whose model does not come: its name stays where it is.
    """
    named = Named()
    moves: list[Row] = []
    for wanted in _wanted(picks, changes):
        if not _can_name(wanted.target):
            named.blocked.append(_without_names(wanted))
        elif _will_be_there(scene, wanted, changes, blocked) and (row := _move(scene, wanted, changes, named)):
            moves.append(row)
    removals = [
        row
        for target in scene.desired.targets
        for alias in scene.record.aliases
        if alias.target_key == target.key and target.name in scene.observed and not _asked(scene, picks, target, alias)
        if (row := _removal(scene, target, alias, named)) is not None
    ]
    named.changes = _Sequence(scene, moves, removals).among(changes)
    return named


def _wanted(picks: Iterable[Pick], changes: Sequence[Row]) -> list[_Wanted]:
    coming = {address: row.name for row in changes if row.fetches for address in row.slots}
    return [
        _Wanted(
            name=pick.slot.alias,
            target=pick.option.target,
            model=coming.get(pick.address, pick.option.name),
            context=pick.option.context,
            address=pick.address,
        )
        for pick in picks
        if pick.slot.alias is not None and pick.option.target.runtime != "advisory"  # its command has it
    ]


def _can_name(target: Target) -> bool:
    return target.runtime in NAMED_BY and (target.runtime != "llama-server" or target.preset is not None)


def _without_names(wanted: _Wanted) -> Row:
    message = f"{wanted.target.name} cannot serve a model as {wanted.name}: it was not told its preset file; {_HINT}"
    return _row(wanted, Action.KEEP, Reason.NO_API, message)


def _will_be_there(scene: Scene, wanted: _Wanted, changes: Sequence[Row], blocked: Sequence[Row]) -> bool:
    place = (wanted.target.name, wanted.model)
    if any((row.target, row.name) == place for row in blocked):
        return False
    coming = any(row.fetches and (row.target, row.name) == place for row in changes)
    return coming or scene.installed(*place) is not None


# ------------------------------------------------------------------------------------------------ make, move


def _move(scene: Scene, wanted: _Wanted, changes: Sequence[Row], named: Named) -> Row | None:
    """The row that makes the name stand for its model; None where it does, or where it may not."""
    here, ours = scene.alias(wanted.target, wanted.name), scene.recorded_alias(wanted.target.key, wanted.name)
    if here is None or here.taken_by is not None:
        if taken := (here.taken_by if here is not None else None) or _taken_by(scene, wanted, changes):
            named.blocked.append(_conflict(wanted, f"the name {wanted.name} is taken by {taken}", ours))
            return None
        if stays(scene, wanted.target, wanted.name) == "in-use":
            message = f"the adapter {wanted.name} has its name, and is in use now, so it waits"
            named.deferred.append(_row(wanted, Action.KEEP, Reason.IN_USE, message))
            return None
        why = "someone removed it" if ours is not None else ""
        return _row(wanted, Action.UPDATE, Reason.ALIAS, _sentence(wanted, None, why), None)
    stands = _stands(scene, wanted, here)
    if ours is None or here.is_foreign_to(ours.digest):
        _somebody_elses(wanted, here, named, ours, stands=stands)
        return None
    why = _why_moved(scene, wanted, here, ours, changes)
    if stands and not why:
        return None
    row = _row(wanted, Action.UPDATE, Reason.ALIAS, _sentence(wanted, here, why), here)
    if here.loaded:
        message = f"{row.message}; in use under this name now, so the move waits"
        named.deferred.append(
            row.model_copy(update={"action": Action.KEEP, "reason": Reason.IN_USE, "message": message})
        )
        return None
    return row


def _stands(scene: Scene, wanted: _Wanted, here: Alias) -> bool:
    same = here.model is not None and scene.same_model(wanted.target.name, here.model, wanted.model)
    return same and here.context in (None, wanted.context)


def _why_moved(scene: Scene, wanted: _Wanted, here: Alias, ours: RecordAlias, changes: Sequence[Row]) -> str:
    """Why a name of ours does not stay as it is, beside standing for another model than it is to."""
    if here.digest is not None and ours.digest is not None and here.digest != ours.digest:
        return "somebody changed it"
    if not _same(scene, wanted.target, here.model, ours.model):
        return "" if _stands(scene, wanted, here) else "somebody moved it"
    place = (wanted.target.name, wanted.model)
    if here.digest is not None and any(row.fetches and (row.target, row.name) == place for row in changes):
        return "the model under it gets other content"
    return ""


def _same(scene: Scene, target: Target, one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one == other
    return scene.same_model(target.name, one, other)


def _somebody_elses(wanted: _Wanted, here: Alias, named: Named, ours: RecordAlias | None, *, stands: bool) -> None:
    if stands:
        named.warnings.append(
            f"{wanted.address}: {wanted.name} on {wanted.target.name} stands for {wanted.model} already, and somebody "
            "else made it: it is left as it is, and will not move; remove it there to have it made anew"
        )
        return
    there = f"stands for {here.model}" if here.model else "stands for nothing that is there"
    named.blocked.append(_conflict(wanted, f"the name {wanted.name} {there}, and somebody else made it", ours))


def _conflict(wanted: _Wanted, found: str, ours: RecordAlias | None) -> Row:
    was = "; it was ours, and what stands there now is not" if ours is not None else ""
    message = f"{found}{was}: it is left alone; remove it there, or give the slot another alias"
    row = _row(wanted, Action.KEEP, Reason.UNMANAGED_CONFLICT, message)
    remove = {"command": f"ollama rm {quoted(wanted.name)}"} if wanted.target.runtime == "ollama" else {}
    return row.model_copy(update=remove)


def _taken_by(scene: Scene, wanted: _Wanted, changes: Sequence[Row]) -> str:
    """What stands, or is about to stand, under the name and is no stable name; empty: it is free."""
    key = wanted.target.key
    coming = [row.name for row in changes if row.fetches and row.target == wanted.target.name]
    observed = scene.observed[wanted.target.name]
    adapters = {adapter.name for adapter in observed.adapters}  # an Ollama lists them among its models
    there = [model.name for model in observed.installed if model.name not in adapters]
    if wanted.target.runtime == "store":
        file, folder = f"aliases/{wanted.name}.gguf", f"aliases/{wanted.name}/"
        return next((f"the file {name}" for name in there if name == file or name.startswith(folder)), "")
    taken = next((name for name in (*there, *coming) if same_stable_name(key, name, wanted.name)), None)
    if taken:
        return f"the model {taken}"
    return f"the adapter {wanted.name}" if stays(scene, wanted.target, wanted.name) == "kept" else ""


def _sentence(wanted: _Wanted, here: Alias | None, why: str) -> str:
    """What it was, and why it changes, where that is not plain: a name that is made says it all in its row."""
    was = ""
    if here is not None and here.model != wanted.model:
        was = f"it stands for {here.model or 'nothing that is there'} now"
    elif here is not None and here.context not in (None, wanted.context):
        was = f"{wanted.context:,} tokens instead of {here.context:,}"
    return "; ".join(part for part in (why, was) if part)


def _row(wanted: _Wanted, action: Action, reason: Reason, message: str, here: Alias | None = None) -> Row:
    return Row(
        address=wanted.address,
        action=action,
        reason=reason,
        target=wanted.target.name,
        target_key=wanted.target.key,
        name=wanted.model,
        slots=(wanted.address,),
        ours=action is Action.UPDATE,
        alias=AliasMove(
            name=wanted.name, before=here.model if here else None, after=wanted.model, context=wanted.context
        ),
        message=message,
    )


# ------------------------------------------------------------------------------------------------ remove


def _asked(scene: Scene, picks: Sequence[Pick], target: Target, alias: RecordAlias) -> bool:
    """A slot asks for the name here: on the target its pick is on, or anywhere it may go while nothing fills it."""
    picked = {pick.slot.name: pick.option.target.name for pick in picks}
    return any(
        slot.alias is not None
        and same_stable_name(target.key, slot.alias, alias.name)
        and picked.get(slot.name, slot.target) in (None, target.name)
        for slot in scene.desired.slots
    )


def _removal(scene: Scene, target: Target, alias: RecordAlias, named: Named) -> Row | None:
    """A name of ours that no slot asks for: it goes, whatever it stands for now."""
    here = scene.alias(target, alias.name)
    model = (here.model if here is not None else None) or alias.model
    row = Row(
        address=f"target/{target.name}/{alias.name}",
        action=Action.UPDATE,
        reason=Reason.ALIAS,
        target=target.name,
        target_key=target.key,
        name=model,
        ours=True,
        alias=AliasMove(name=alias.name, before=here.model if here else None),
        message="no slot asks for it",
    )
    if here is None:
        message = "it is gone, and no slot asks for it"
        return row.model_copy(update={"action": Action.FORGET, "reason": Reason.GONE, "message": message})
    if here.is_foreign_to(alias.digest):
        message = "what stands there now is not ours, and no slot asks for it"
        return row.model_copy(update={"action": Action.FORGET, "reason": Reason.GONE, "message": message})
    if here.loaded:
        message = f"{row.message}; in use under this name now, so it waits"
        named.deferred.append(
            row.model_copy(update={"action": Action.KEEP, "reason": Reason.IN_USE, "message": message})
        )
        return None
    return row


# ------------------------------------------------------------------------------------------------ order


@dataclass(slots=True)
class _Sequence:
    """One pass over the changes, with the rows of names that still wait for their place."""

    scene: Scene
    moves: list[Row]
    removals: list[Row]
    done: list[Row] = field(default_factory=list)

    def among(self, changes: Sequence[Row]) -> tuple[Row, ...]:
        """After the model comes, before the model goes; what waits for nothing comes first, what nobody asks last."""
        fetched = {(row.target, row.name) for row in changes if row.fetches}
        for move in [move for move in self.moves if (move.target, move.name) not in fetched]:
            self._emit(move)
        for row in changes:
            if row.action is Action.EVICT:
                self._before_eviction(row)
            self.done.append(row)
            for move in [
                move for move in self.moves if row.fetches and (move.target, move.name) == (row.target, row.name)
            ]:
                self._emit(move)
        self.done.extend(self.removals)
        return tuple(self.done)

    def _emit(self, move: Row) -> None:
        """A name that only changes its spelling goes first: where case means nothing, both are one."""
        for old in [old for old in self.removals if old.target == move.target and _spelled_alike(old, move)]:
            self.removals.remove(old)
            self.done.append(old)
        self.moves.remove(move)
        self.done.append(move)

    def _before_eviction(self, row: Row) -> None:
        """What stands for the model that goes: a removal takes its place here, a move that comes later leaves a gap."""
        for old in [old for old in self.removals if self._stands_for(old, row)]:
            self.removals.remove(old)
            self.done.append(old.model_copy(update={"slots": () if row.gap else row.slots}))
        for move in [move for move in self.moves if self._stands_for(move, row)]:
            self.moves[self.moves.index(move)] = self._with_gap(move)
        self._dangling(row)

    def _with_gap(self, move: Row) -> Row:
        """The old model goes before the new one is there: so does its name, which stands for nothing until then."""
        later = (move.alias or AliasMove(name=move.name)).model_copy(update={"before": None})
        gone = AliasMove(name=later.name, before=move.alias.before if move.alias else None)
        message = f"allowGap: the old model goes first, and the name stands for nothing until {move.name} is there"
        self.done.append(
            move.model_copy(
                update={"alias": gone, "name": gone.before, "slots": (), "gap": True, "message": message},
            )
        )
        return move.model_copy(update={"alias": later, "gap": True, "message": ""})

    def _dangling(self, row: Row) -> None:
        """A name that a slot still asks for, of a model that goes while nothing fills the slot."""
        target = next(target for target in self.scene.desired.targets if target.name == row.target)
        told = {
            stable_name_key(one.target_key, one.alias.name)
            for one in (*self.done, *self.moves)
            if one.alias is not None and one.target == row.target
        }
        for ours in self.scene.record.aliases:
            here = self.scene.alias(target, ours.name) if ours.target_key == target.key else None
            if here is None or here.foreign or here.model is None or stable_name_key(target.key, ours.name) in told:
                continue
            if self.scene.same_model(target.name, here.model, row.name):
                self.done.append(
                    Row(
                        address=f"target/{target.name}/{ours.name}",
                        action=Action.UPDATE,
                        reason=Reason.ALIAS,
                        target=target.name,
                        target_key=target.key,
                        name=row.name,
                        slots=() if row.gap else row.slots,
                        ours=True,
                        alias=AliasMove(name=ours.name, before=here.model),
                        message="the model it stands for goes, and nothing takes its place yet",
                    )
                )

    def _stands_for(self, named: Row, evicted: Row) -> bool:
        before = named.alias.before if named.alias is not None else None
        same_target = named.target == evicted.target
        return same_target and before is not None and self.scene.same_model(named.target, before, evicted.name)


def _spelled_alike(one: Row, other: Row) -> bool:
    names = [row.alias.name.casefold() if row.alias is not None else None for row in (one, other)]
    return names[0] == names[1]
