"""What is there now: targets, models and whose they are, budget, unfinished steps.

Asks nobody outside and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.desired import Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.domain.hardware import Hardware
from reconciler.domain.names import same_stable_name
from reconciler.domain.observation import (
    DiskSpace,
    Installed,
    ObservedTarget,
    PartialDownload,
    TargetObservation,
    UnknownTarget,
)
from reconciler.domain.plan import Budget, Drift, Reason
from reconciler.domain.record import Intent, Record, RecordAlias, RecordEntry
from reconciler.domain.units import Bytes
from reconciler.engine.look import find, find_alias, is_recorded, recorded_alias, same_model
from reconciler.engine.ownership import quietly
from reconciler.engine.reconcile import plan_once
from reconciler.engine.status_adapters import StatusAdapter, findings_of, recorded_adapter, served_adapters
from reconciler.engine.world import Options, Planned, World

Standing = Literal["ours", "drifted", "missing", "foreign", "unmanaged-match", "orphaned", "unknown", "remote"]
"""Whose a model is: recorded and as recorded · recorded, with other content · recorded, not there · not ours · not ours
and fills a slot · on a target that left the file · on a target that does not answer · a cloud entry."""


class StatusModel(Frozen):
    """One model on one target, installed or recorded."""

    name: str
    standing: Standing
    bytes: Bytes
    slots: tuple[str, ...] = ()
    model_id: str | None = None
    quant: str | None = None
    digest: str | None = None
    loaded: bool = False
    adopted: bool = False
    installed_at: datetime | None = None
    last_used_at: datetime | None = None


class StatusAlias(Frozen):
    """One stable name on one target, there or recorded."""

    name: str
    standing: Literal["ours", "drifted", "missing", "foreign", "unknown", "orphaned"]
    """``drifted``: ours, and somebody moved it."""
    model: str | None = None
    """What it stands for; of nothing that is there: None."""
    slots: tuple[str, ...] = ()
    context: int | None = None
    loaded: bool = False


class StatusTarget(Frozen):
    """One target: whether it answers, and what it holds."""

    name: str
    key: str
    runtime: str = ""
    """What runs there; ``advisory``: it is not asked."""
    serves: str | None = None
    """The one base of a server that was started with it."""
    state: Literal["observed", "unknown", "orphaned"]
    """``orphaned``: it left the file; it is not contacted, and what we own there is still recorded."""
    reason: str = ""
    """Why it is unknown or orphaned."""
    hint: str | None = None
    version: str | None = None
    models: tuple[StatusModel, ...] = ()
    aliases: tuple[StatusAlias, ...] = ()
    """Stable names. One that is not ours may stand among the models as well, where the target lists it so."""
    adapters: tuple[StatusAdapter, ...] = ()
    disk: DiskSpace | None = None
    partial_bytes: Bytes = Bytes(0)
    """Unfinished downloads."""
    partial_names: tuple[str, ...] = ()
    partials: tuple[PartialDownload, ...] = ()
    """The same by name, where the target tells how much each takes."""
    orphan_bytes: Bytes = Bytes(0)
    """Of whole files that no model refers to; reported, and never removed under a live server."""
    notes: tuple[str, ...] = ()


class Status(Frozen):
    """Everything a person asks of a machine, in one document."""

    name: str
    source: str
    enabled: bool
    in_sync: bool
    """A plan made from this look would change nothing. Asked of nobody outside: a moved source is not noticed."""
    pending: int
    """Rows that apply would run."""
    hardware: Hardware
    targets: tuple[StatusTarget, ...]
    budgets: tuple[Budget, ...]
    drift: tuple[Drift, ...]
    intents: tuple[Intent, ...] = ()
    """Steps that were begun and did not end; the next apply finishes or undoes them."""
    record_generation: int
    last_applied_at: datetime | None = None
    """When the newest model of ours was installed."""
    last_attached_at: datetime | None = None
    """When the newest adapter of ours was attached."""
    applied: bool
    """The file as it stands was applied to its end."""
    catalogue_date: str
    warnings: tuple[str, ...] = ()


async def status(world: World, options: Options) -> Status:
    """The status of one document's targets."""
    return status_of(await plan_once(world, quietly(options)))


def status_of(planned: Planned) -> Status:
    """The same from a plan just made."""
    desired, record, observation, plan = planned.desired, planned.record, planned.observation, planned.plan
    matched = {(row.target_key, row.name): row.slots for row in plan.kept if row.reason is Reason.UNMANAGED_MATCH}
    changed = {(drift.target, drift.name) for drift in plan.drift if drift.kind == "content-changed"}
    written = {target.name: target for target in desired.targets}
    told = findings_of(plan)
    known = [
        _described(_target(target, record, matched, changed, desired.slots, told), target, written)
        for target in observation.targets
    ]
    return Status(
        name=desired.name,
        source=desired.source,
        enabled=desired.enabled,
        in_sync=plan.in_sync,
        pending=len(plan.changes),
        hardware=observation.hardware.hardware,
        targets=(*known, *_orphaned(planned)),
        budgets=plan.budgets,
        drift=plan.drift,
        intents=record.intents,
        record_generation=record.generation,
        last_applied_at=max((entry.installed_at for entry in record.entries), default=None),
        last_attached_at=max((one.attached_at for one in record.adapters), default=None),
        applied=bool(desired.digest) and record.applied_digest == desired.digest,
        catalogue_date=observation.catalogue.generated_at.isoformat(),
        warnings=tuple(one for one in plan.warnings if one not in observation.catalogue.notes),
    )


def _target(
    target: TargetObservation,
    record: Record,
    matched: dict[tuple[str, str], tuple[str, ...]],
    changed: set[tuple[str, str]],
    slots: tuple[Slot, ...],
    told: Mapping[tuple[str, str], tuple[Finding, ...]],
) -> StatusTarget:
    entries = [entry for entry in record.entries if entry.target_key == target.key]
    if isinstance(target, UnknownTarget):
        return StatusTarget(
            name=target.name,
            key=target.key,
            state="unknown",
            reason=target.reason,
            hint=target.hint,
            models=tuple(_recorded(entry, "unknown") for entry in entries),
            aliases=tuple(_recorded_alias(one, "unknown") for one in record.aliases if one.target_key == target.key),
            adapters=tuple(recorded_adapter(one, "unknown") for one in record.adapters if one.target_key == target.key),
        )
    ours = [_ours(entry, target, changed) for entry in entries]
    recorded = {model.name for entry in entries if (model := find(target, entry.name)) is not None}
    others = [
        _not_ours(model, matched.get((target.key, model.name)))
        for model in target.installed
        if model.name not in recorded
        and not _is_our_alias(record, target, model.name)
        and not _is_our_adapter(record, target, model.name)
    ]
    return StatusTarget(
        name=target.name,
        key=target.key,
        state="observed",
        version=target.version,
        models=tuple(sorted((*ours, *others), key=lambda model: model.name)),
        aliases=_aliases(target, record, slots),
        adapters=served_adapters(target, record, told),
        disk=target.disk,
        partial_bytes=target.partial_bytes,
        partial_names=target.partial_names,
        partials=target.partials,
        orphan_bytes=target.orphan_bytes,
        notes=target.notes,
    )


def _described(target: StatusTarget, seen: TargetObservation, written: Mapping[str, Target]) -> StatusTarget:
    """By what the file says of it."""
    here = written.get(target.name)
    if here is None:
        return target
    runtime = here.program if here.is_asked and here.program else here.runtime
    installed = seen.installed if here.is_asked and isinstance(seen, ObservedTarget) else ()
    base = next((model.name for model in installed), None)
    return target.model_copy(update={"runtime": runtime, "serves": base})


def _is_our_alias(record: Record, target: ObservedTarget, name: str) -> bool:
    return find_alias(target, name) is not None and recorded_alias(record, target.key, name) is not None


def _is_our_adapter(record: Record, target: ObservedTarget, name: str) -> bool:
    """A target may list a model with an adapter as a model too (Ollama); it is shown as the adapter that it is."""
    served = [one.name for one in target.adapters if record.adapter(target.key, one.name) is not None]
    return any(same_model(target.key, one, name) for one in served)


def _aliases(target: ObservedTarget, record: Record, slots: tuple[Slot, ...]) -> tuple[StatusAlias, ...]:
    """Every name that stands there, and every one of ours that does not."""
    gone = [one for one in record.aliases if one.target_key == target.key and find_alias(target, one.name) is None]
    found = [_recorded_alias(one, "missing") for one in gone]
    for alias in target.aliases:
        ours = recorded_alias(record, target.key, alias.name)
        if ours is None and alias.taken_by is not None:
            continue  # no stable name: the plan tells of it where a slot asks for it
        moved = ours is not None and not (
            same_model(target.key, alias.model, ours.model) and ours.digest in (None, alias.digest)
        )
        found.append(
            StatusAlias(
                name=alias.name if ours is None else ours.name,
                standing="foreign"
                if ours is None or alias.is_foreign_to(ours.digest)
                else "drifted"
                if moved
                else "ours",
                model=alias.model,
                context=alias.context,
                loaded=alias.loaded,
            )
        )
    asked = [(slot.alias, slot.addresses) for slot in slots if slot.alias and slot.target in (None, target.name)]
    return tuple(
        one.model_copy(
            update={"slots": next((all_ for name, all_ in asked if same_stable_name(target.key, name, one.name)), ())}
        )
        for one in sorted(found, key=lambda one: one.name)
    )


def _recorded_alias(alias: RecordAlias, standing: Literal["missing", "unknown", "orphaned"]) -> StatusAlias:
    return StatusAlias(name=alias.name, standing=standing, model=alias.model, context=alias.context)


def _ours(entry: RecordEntry, target: ObservedTarget, changed: set[tuple[str, str]]) -> StatusModel:
    found = find(target, entry.name)
    if found is None:
        return _recorded(entry, "missing")
    drifted = (target.name, entry.name) in changed or not (_touched(entry, found) or is_recorded(entry, found))
    return _recorded(entry, "drifted" if drifted else "ours").model_copy(
        update={
            "bytes": found.bytes,
            "loaded": found.loaded,
            "digest": found.digest or entry.digest,
            "last_used_at": found.last_used_at or entry.last_used_at,
        }
    )


def _touched(entry: RecordEntry, found: Installed) -> bool:
    """Another stamp, and nobody has read the content: the plan decides whether it drifted."""
    return found.digest is None and entry.stamp != found.stamp


def _recorded(entry: RecordEntry, standing: Standing) -> StatusModel:
    return StatusModel(
        name=entry.name,
        standing=standing,
        bytes=Bytes(0) if standing == "missing" else entry.bytes,
        slots=entry.slots,
        model_id=entry.model_id,
        quant=entry.quant,
        digest=entry.digest,
        adopted=entry.adopted,
        installed_at=entry.installed_at,
        last_used_at=entry.last_used_at,
    )


def _not_ours(model: Installed, slots: tuple[str, ...] | None) -> StatusModel:
    standing: Standing = "remote" if model.remote else "foreign" if slots is None else "unmanaged-match"
    return StatusModel(
        name=model.name,
        standing=standing,
        bytes=model.bytes,
        slots=slots or (),
        model_id=model.repo,
        quant=model.quant,
        digest=model.digest,
        loaded=model.loaded,
        last_used_at=model.last_used_at,
    )


def _orphaned(planned: Planned) -> tuple[StatusTarget, ...]:
    known = {target.key for target in planned.desired.targets}
    gone: dict[str, list[RecordEntry]] = {}
    names: dict[str, list[RecordAlias]] = {}
    lora: dict[str, list[RecordAdapter]] = {}
    for adapter in planned.record.adapters:
        if adapter.target_key not in known:
            lora.setdefault(adapter.target_key, []).append(adapter)
    for entry in planned.record.entries:
        if entry.target_key not in known:
            gone.setdefault(entry.target_key, []).append(entry)
    for alias in planned.record.aliases:
        if alias.target_key not in known:
            names.setdefault(alias.target_key, []).append(alias)
    return tuple(
        StatusTarget(
            name=[*gone.get(key, ()), *names.get(key, ()), *lora.get(key, ())][0].target_name,
            key=key,
            runtime="vllm" if key.startswith("advisory|") and key in lora else key.partition("|")[0],
            state="orphaned",
            reason="this target left the file; nothing is evicted there",
            hint="`localmodels destroy` removes what is ours there, `localmodels disown` lets it go",
            models=tuple(_recorded(entry, "orphaned") for entry in gone.get(key, ())),
            aliases=tuple(_recorded_alias(alias, "orphaned") for alias in names.get(key, ())),
            adapters=tuple(recorded_adapter(one, "orphaned") for one in lora.get(key, ())),
        )
        for key in sorted(gone.keys() | names.keys() | lora.keys())
    )
