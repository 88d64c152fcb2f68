"""The table: desired, installed, ours → action and reason.

========  ==============  =====  =========  ==========================================================
desired   installed       ours   action     reason
========  ==============  =====  =========  ==========================================================
yes       no              no     install    missing
yes       no              yes    install    drifted (someone removed it)
yes       same            no     keep       unmanaged-match
yes       same            yes    keep       in-sync (held: upstream-moved where the source offers other content)
yes       other content   yes    update     drifted
yes       same, served    yes    update     serving (settings of the target only)
          otherwise
yes       other content   no     –          blocked: unmanaged-conflict
no        yes             yes    evict      not-desired, replaced, over-budget (keep: prune, ``keep``; deferred: in use;
                                           blocked: unmanaged-conflict, where somebody else's settings hold it)
no        no              yes    forget     gone
no        yes             no     –          none of our business
========  ==============  =====  =========  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.domain.advice import command_for, quoted
from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.observation import (
    DigestNeed,
    HubNeed,
    Installed,
    Need,
    RegistryNeed,
    Resolved,
    Serving,
    Unavailable,
)
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.record import RecordEntry
from reconciler.planning.content import as_recorded, as_wanted
from reconciler.planning.option import Option
from reconciler.planning.rows import entry_row, option_row, shared_notes
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick, Selection
from reconciler.planning.trust import keep_pattern_for


@dataclass(slots=True)
class Diff:
    """Rows by what becomes of them, before anyone asked for room."""

    changes: list[Row] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    deferred: list[Row] = field(default_factory=list)
    blocked: list[Row] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)


def diff(scene: Scene, selection: Selection) -> Diff:
    """Compare what was picked with what is installed and recorded."""
    rows = Diff(held=list(selection.held), blocked=list(selection.blocked))
    for picks in _by_place(selection.picks):
        _desired(scene, rows, picks)
    picked = {pick.option.place for pick in selection.picks}
    for target in scene.desired.targets:
        for entry in scene.record.entries:
            ours_here = entry.target_key == target.key and target.name in scene.observed
            if ours_here and (target.name, entry.name) not in picked:
                _undesired(scene, rows, selection, target, entry)
    rows.kept.extend(_orphans(scene))
    return rows


def _orphans(scene: Scene) -> list[Row]:
    """What is ours on targets that left the file: reported, never touched by a plan."""
    keys = {target.key for target in scene.desired.targets}
    message = "its target left the file: `destroy` or `disown` settles it"
    return [
        entry_row(
            scene,
            Target(name=entry.target_name),
            entry,
            action=Action.KEEP,
            reason=Reason.ORPHANED,
            size=entry.bytes,
            message=message,
        )
        for entry in scene.record.entries
        if entry.target_key not in keys
    ]


def _by_place(picks: Iterable[Pick]) -> tuple[tuple[Pick, ...], ...]:
    """Picks that share one install, in the order of the first of them."""
    places: dict[tuple[str, str], list[Pick]] = {}
    for pick in picks:
        places.setdefault(pick.option.place, []).append(pick)
    return tuple(tuple(group) for group in places.values())


def _desired(scene: Scene, rows: Diff, picks: tuple[Pick, ...]) -> None:
    option = picks[0].option
    if option.target.runtime == "advisory" and option.installed is None:
        rows.blocked.append(_advice(scene, picks))
    elif option.installed is None:
        _absent(scene, rows, picks)
    elif option.entry is None:
        _foreign(scene, rows, picks, option.installed)
    else:
        _owned(scene, rows, picks, option.installed, option.entry)


def _row(scene: Scene, picks: tuple[Pick, ...], action: Action, reason: Reason, message: str = "") -> Row:
    addresses = tuple(pick.address for pick in picks)
    row = option_row(
        scene, picks[0].option, address=addresses[0], slots=addresses, action=action, reason=reason, message=message
    )
    if action in (Action.INSTALL, Action.UPDATE):
        row = row.model_copy(update={"serving": serving_of(picks)})
    others = (
        *shared_notes(picks[0].option, [(pick.address, pick.option) for pick in picks[1:]]),
        *(pick.passed_over for pick in picks if pick.passed_over),
    )
    evidence = row.evidence.model_copy(update={"notes": (*row.evidence.notes, *others)})
    return row.model_copy(update={"evidence": evidence}) if others else row


def serving_of(picks: tuple[Pick, ...]) -> Serving | None:
    """What a target that can be told must serve a model with, so that every slot it fills gets what it asks."""
    options = [pick.option for pick in picks]
    if options[0].target.preset is None:
        return None
    return Serving(
        context=max(option.context for option in options),
        parallel=max(option.parallel for option in options),
        kv_cache=options[0].kv_cache,
        load=any(pick.slot.load for pick in picks),
    )


def _advice(scene: Scene, picks: tuple[Pick, ...]) -> Row:
    option = picks[0].option
    program = option.target.program or "llama-server"
    aliases = tuple(pick.slot.alias for pick in picks if pick.slot.alias)
    message = f"target {option.target.name} is driven by hand"
    if aliases and program == "lms":
        message += f"; load it with --identifier {aliases[0]}, so that clients find it under that name"
    row = _row(scene, picks, Action.KEEP, Reason.NO_API, message)
    candidate = option.candidate
    quant = candidate.quant if candidate.repository.format == "gguf" else ""
    command = command_for(
        program,
        candidate.repository.id,
        quant or None,
        option.context,
        kv_cache=option.kv_cache,
        parallel=option.parallel,
        aliases=aliases,
    )
    return row.model_copy(update={"command": command})


def _absent(scene: Scene, rows: Diff, picks: tuple[Pick, ...]) -> None:
    option = picks[0].option
    if option.entry is not None:
        _repair(scene, rows, picks, option.entry, Action.INSTALL)
        return
    reason = {"outranked": Reason.OUTRANKED, "ineligible": Reason.INELIGIBLE}.get(picks[0].why, Reason.MISSING)
    _fetched(scene, rows, _row(scene, picks, Action.INSTALL, reason), option)


def _foreign(scene: Scene, rows: Diff, picks: tuple[Pick, ...], installed: Installed) -> None:
    option = picks[0].option
    if picks[0].slot.is_pin and option.answer is None and not _asked(scene, option.need):
        rows.needs.extend(_open(scene, option.need))
    verdict = as_wanted(scene, option.target.name, installed, option.answer if picks[0].slot.is_pin else None)
    if isinstance(verdict, DigestNeed):
        rows.needs.append(verdict)
    if verdict == "other":
        message = f"{installed.name} is there with other content, and is not ours"
        row = _row(scene, picks, Action.KEEP, Reason.UNMANAGED_CONFLICT, message)
        rows.blocked.append(row.model_copy(update={"command": f"localmodels adopt {quoted(installed.name)}"}))
        return
    rows.kept.append(_row(scene, picks, Action.KEEP, Reason.UNMANAGED_MATCH, "fills the slot; not ours until adopted"))


def _owned(scene: Scene, rows: Diff, picks: tuple[Pick, ...], installed: Installed, entry: RecordEntry) -> None:
    pick, option = picks[0], picks[0].option
    verdict = as_recorded(scene, option.target.name, installed, entry)
    if isinstance(verdict, DigestNeed):
        rows.needs.append(verdict)
    if verdict == "other":
        _repair(scene, rows, picks, entry, Action.UPDATE)
        return
    if entry.artifact is None and pick.slot.is_pin and _is_not_the_pin(scene, rows, option, installed):
        message = "what was adopted is not what the pin names"
        _fetched(scene, rows, _row(scene, picks, Action.UPDATE, Reason.DRIFTED, message), option)
        return
    if pick.slot.is_pin and pick.slot.revision is not None and pick.slot.revision != entry.revision:
        if option.answer is None:
            rows.needs.extend(_open(scene, option.need))
        elif _moved(entry, option.answer):
            _fetched(scene, rows, _row(scene, picks, Action.UPDATE, Reason.UPSTREAM_MOVED), option)
            return
    elif option.answer is not None and _moved(entry, option.answer):
        if pick.slot.update == "follow":
            _fetched(scene, rows, _row(scene, picks, Action.UPDATE, Reason.UPSTREAM_MOVED), option)
            return
        message = "the source offers other content under this name; `update: follow` takes it"
        rows.held.append(_row(scene, picks, Action.KEEP, Reason.UPSTREAM_MOVED, message))
    rows.kept.append(_row(scene, picks, Action.KEEP, Reason.IN_SYNC))
    _served(scene, rows, picks, installed)


def _served(scene: Scene, rows: Diff, picks: tuple[Pick, ...], installed: Installed) -> None:
    """What stays may have to be served otherwise."""
    wanted = serving_of(picks)
    if wanted is None or not installed.serving_is_ours or installed.serving == wanted:
        return
    row = _row(scene, picks, Action.UPDATE, Reason.SERVING, f"to be served with {_in_words(wanted)}")
    update = {"after": row.before, "artifact": None, "resolved": True, "bytes_down": 0, "bytes_freed": 0}
    rows.changes.append(row.model_copy(update=update))


def _in_words(wanted: Serving) -> str:
    conversations = f" for each of {wanted.parallel} conversations" if wanted.parallel > 1 else ""
    cache = f", a {wanted.kv_cache} cache" if wanted.kv_cache != "f16" else ""
    return f"{wanted.context} tokens{conversations}{cache}{', loaded at once' if wanted.load else ''}"


def _is_not_the_pin(scene: Scene, rows: Diff, option: Option, installed: Installed) -> bool:
    """Whether an adopted model has other content than its pin resolves to; asks what is not known yet."""
    rows.needs.extend(_open(scene, option.need))
    verdict = as_wanted(scene, option.target.name, installed, option.answer)
    if isinstance(verdict, DigestNeed):
        rows.needs.append(verdict)
    return verdict == "other"


def _moved(entry: RecordEntry, answer: Resolved) -> bool:
    return (
        answer.artifact is not None and entry.artifact is not None and answer.artifact.digest != entry.artifact.digest
    )


def _repair(scene: Scene, rows: Diff, picks: tuple[Pick, ...], entry: RecordEntry, action: Action) -> None:
    """Bring back what was recorded: the same commit while the source still has it, else what the name means now."""
    option = picks[0].option
    need = option.need
    if isinstance(entry.artifact, HubArtifact) and isinstance(need, HubNeed):
        need = need.model_copy(update={"revision": entry.artifact.commit, "quant": entry.quant})
        answer = scene.answer(need)
        if isinstance(answer, Unavailable) and answer.code not in ("unreachable", "offline"):
            need, answer = option.need, option.answer
    else:
        answer = scene.answer(need)
    resolved = answer if isinstance(answer, Resolved) else None
    message = "someone removed it" if action is Action.INSTALL else "its content is not what was installed"
    row = _row(scene, picks, action, Reason.DRIFTED, message)
    artifact = resolved.artifact if resolved else entry.artifact
    if artifact is not None and row.after is not None:
        after = row.after.model_copy(update={"name": entry.name, "digest": artifact.digest, "bytes": artifact.bytes})
        row = row.model_copy(
            update={"artifact": artifact, "resolved": True, "bytes_down": artifact.bytes, "after": after}
        )
    rows.changes.append(row.model_copy(update={"name": entry.name}))
    rows.needs.extend(_open(scene, need))


def _fetched(scene: Scene, rows: Diff, row: Row, option: Option) -> None:
    """A row that needs files: resolved by its answer, or waiting for one."""
    answer = scene.answer(option.need)
    if isinstance(answer, Unavailable):
        row = row.model_copy(update={"message": f"not resolved: {answer.message}"})
    rows.changes.append(row)
    rows.needs.extend(_open(scene, option.need))


def _open(scene: Scene, need: HubNeed | RegistryNeed | None) -> tuple[Need, ...]:
    return () if need is None or _asked(scene, need) else (need,)


def _asked(scene: Scene, need: HubNeed | RegistryNeed | None) -> bool:
    return need is None or scene.observation.offline or scene.answer(need) is not None


def _undesired(scene: Scene, rows: Diff, selection: Selection, target: Target, entry: RecordEntry) -> None:
    """Something of ours that no pick stands on."""
    installed = scene.installed(target.name, entry.name)
    if installed is None:
        rows.changes.append(entry_row(scene, target, entry, action=Action.FORGET, reason=Reason.GONE, size=None))
        return

    def keep(reason: Reason, message: str, where: list[Row]) -> None:
        where.append(
            entry_row(scene, target, entry, action=Action.KEEP, reason=reason, size=installed.bytes, message=message)
        )

    stuck = {address for row in selection.blocked for address in row.slots}
    taken = [row for row in rows.blocked if row.reason is Reason.UNMANAGED_CONFLICT and not row.ours]
    conflicts = {address for row in taken for address in row.slots}
    pattern = keep_pattern_for(scene.desired.pool, _names(entry))
    reason, why = _eviction_reason(selection, entry)
    if pattern is not None:
        keep(Reason.KEEP_LISTED, f"keep: {pattern!r}", rows.kept)
    elif stuck.intersection(entry.slots):
        keep(Reason.REPLACEMENT_BLOCKED, "its slot cannot be decided now, so it stays", rows.kept)
    elif conflicts.intersection(entry.slots):
        keep(Reason.REPLACEMENT_BLOCKED, "what would replace it is not ours to take, so it stays", rows.kept)
    elif scene.desired.pool.prune == "never":
        keep(Reason.PRUNE_OFF, "prune: never", rows.kept)
    elif scene.in_use(target.name, installed):
        keep(Reason.IN_USE, f"{why}; in use now, so the eviction waits", rows.deferred)
    elif installed.held_by is not None:
        keep(Reason.UNMANAGED_CONFLICT, f"{why}, and stays: {installed.held_by}", rows.blocked)
    else:
        rows.changes.append(
            entry_row(scene, target, entry, action=Action.EVICT, reason=reason, size=installed.bytes, message=why)
        )


def _eviction_reason(selection: Selection, entry: RecordEntry) -> tuple[Reason, str]:
    successors = {pick.option.candidate.model.id for pick in selection.picks if pick.address in entry.slots}
    if successors:
        return Reason.REPLACED, f"replaced by {', '.join(sorted(successors))}"
    if selection.dropped.intersection(entry.slots):
        return Reason.OVER_BUDGET, "the budget no longer holds it, and nothing that it holds meets the slot"
    return Reason.NOT_DESIRED, "nothing in the file asks for it"


def _names(entry: RecordEntry) -> tuple[str, ...]:
    repo = (entry.artifact.repo,) if isinstance(entry.artifact, HubArtifact) else ()
    tagged = tuple(f"{name}:{entry.quant}" for name in repo if entry.quant)
    return (entry.name, entry.model_id, *repo, *tagged)
