"""``evict``: take a model out of the file, whatever put it there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.commands.edit import edited
from reconciler.cli.reporting import Silent
from reconciler.cli.running import run_to_end
from reconciler.cli.wiring import Wiring
from reconciler.domain.artifact import Artifact, HubArtifact
from reconciler.domain.names import nearest
from reconciler.engine.ownership import quietly
from reconciler.engine.reconcile import plan_once
from reconciler.engine.world import Options, Planned
from reconciler.errors import UsageError
from reconciler.integrations.files import edit


def evict(file: Path | None, name: str, *, as_json: bool) -> int:
    """Remove the pin of that slot, model or installed name; forbid a ranked pick with ``never``."""
    wiring = Wiring(file=file)
    return edited(wiring, lambda text: _without(text, name, wiring), as_json=as_json)


def _without(text: str, name: str, wiring: Wiring) -> str:
    try:
        return edit.remove_pin(text, name)
    except UsageError as error:
        planned = run_to_end(plan_once(wiring.world(Silent()), quietly(Options())))
        models = [one for one in _models(planned) if name in one.names]
        if not models:
            raise _unknown(name, planned, error) from error
    return _without_models(text, name, models, planned)


@dataclass(frozen=True, slots=True)
class _Model:
    """Something the plan or the record speaks of, with every name it goes by."""

    names: tuple[str, ...]
    """The most general first."""
    slots: tuple[str, ...]


def _models(planned: Planned) -> Iterable[_Model]:
    plan = planned.plan
    for row in (*plan.kept, *plan.changes, *plan.held, *plan.deferred):
        yield _Model(_names(row.model_id, row.artifact, row.quant, row.name), row.slots)
    for entry in planned.record.entries:
        yield _Model(_names(entry.model_id, entry.artifact, entry.quant, entry.name), entry.slots)


def _names(model_id: str | None, artifact: Artifact | None, quant: str | None, name: str) -> tuple[str, ...]:
    repository = artifact.repo if isinstance(artifact, HubArtifact) else None
    found = (model_id, repository, f"{repository}:{quant}" if repository and quant else None, name)
    return tuple(word for word in found if word)


def _without_models(text: str, name: str, models: list[_Model], planned: Planned) -> str:
    """The pins that hold it go; where a ranked slot picked it, it is forbidden by the name that was typed."""
    slots = {address: slot for slot in planned.desired.slots for address in slot.addresses}
    filled = {slots[address].name: slots[address] for one in models for address in one.slots if address in slots}
    for slot in filled.values():
        if slot.is_pin:
            text = edit.remove_pin(text, slot.name)
    ranked = [slot for slot in filled.values() if not slot.is_pin]
    return edit.add_never(text, name) if ranked or not filled else text


def _unknown(name: str, planned: Planned, error: UsageError) -> UsageError:
    slots = [slot.name for slot in planned.desired.slots]
    if name in slots:
        return error
    near = nearest(name, [*slots, *(word for one in _models(planned) for word in one.names)], 1)
    hint = f"did you mean {near[0]}?" if near else "localmodels status lists what is ours"
    return UsageError(f"{name} is no pin, and nothing of ours has this name", code="unknown-model", hint=hint)
