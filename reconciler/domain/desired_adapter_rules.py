"""What the keys of ``adapters`` must mean together, and with the slots and targets of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from reconciler.domain.adapter import CANDIDATE_SUFFIX
from reconciler.domain.desired_document import Pool, Settings, Slot
from reconciler.domain.desired_finding import (
    Finding,
    Path,
    below,
    implied_target_name,
    may_meet,
    names_are_unique,
    of_each_target,
)
from reconciler.domain.names import nearest
from reconciler.domain.written_adapter import Adapter, AdapterServing

SERVE_ADAPTERS = ("llama-server", "vllm", "ollama")
"""Runtimes that can have adapters at all."""
TAKES_SCALE = ("llama-server",)
IMPLIED_SLOTS = ("general", "coding", "reasoning")
_TARGETS: Path = ("targets",)


def adapter_rules(settings: Settings) -> Iterator[Finding]:
    """Everything about adapters that is well formed and makes no sense."""
    adapters = settings.adapters
    yield from names_are_unique("adapters", [adapter.name for adapter in adapters])
    for index, adapter in enumerate(adapters):
        if not adapter.absent:  # else its name says all: slot, organisation and target may have left the file before it
            for finding in _rules_of(adapter, index, settings):
                yield _unless_absent(finding, index)
    yield from _names_are_apart(settings)


def _rules_of(adapter: Adapter, index: int, settings: Settings) -> Iterator[Finding]:
    for finding in (*_base_rules(adapter, settings), *_source_rules(adapter, settings), *_file_names(adapter)):
        yield below(finding, "adapters", index)
    if not adapter.serve:
        message = "'serve' is missing, so nothing would serve it"
        yield Finding(
            ("adapters", index), message, "add 'serve: [{target: NAME}]', or 'absent: true'",
            rests_on=(("adapters", index, "serve"),),
        )  # fmt: skip
    for at, serving in enumerate(adapter.serve):
        for finding in _serving_rules(adapter, serving, settings):
            yield below(finding, "adapters", index, "serve", at)


def _unless_absent(finding: Finding, *indices: int) -> Finding:
    """A finding about adapters that holds while none of them is absent."""
    places: tuple[Path, ...] = tuple(("adapters", index, "absent") for index in indices)
    return replace(finding, elsewhere=(*finding.elsewhere, *places))


# --- base and source


def _base_rules(adapter: Adapter, settings: Settings) -> Iterator[Finding]:
    if settings.slots is None:
        names: Sequence[str] = IMPLIED_SLOTS
    else:
        names = [slot.name for slot in settings.slots]
    base = adapter.base or ""
    slot = _slot(settings, base)
    judged_by = tuple(("slots", index, "name") for index in range(len(settings.slots or ()))) or (("slots",),)
    if slot is not None and slot.count > 1:
        message = f"found {base!r}, a slot with 'count: {slot.count}'; allowed: one with a single model"
        hint = "write one slot for each model"
        yield Finding(("base",), message, hint, elsewhere=(*judged_by, *_of_slot(settings, slot, "count")))
    if base in names or "/" in base or ":" in base:
        return
    near = nearest(base, names, 1)
    hint = f"did you mean {near[0]}?" if near else "name a slot, or a model as a pin names it, such as org/name"
    if any(_runtimes(settings).get(serving.target) == "vllm" for serving in adapter.serve):
        hint += f"; where a vLLM serves a folder as {base}, start it with --served-model-name org/{base} and name that"
    message = f"found {base!r}; allowed: a slot ({', '.join(names) or 'there is none'}), or a model"
    yield Finding(("base",), message, hint, elsewhere=judged_by)


def _slot(settings: Settings, name: str | None) -> Slot | None:
    return next((slot for slot in settings.slots or () if slot.name == name), None)


def _of_slot(settings: Settings, slot: Slot, key: str) -> tuple[Path, ...]:
    return (("slots", (settings.slots or []).index(slot), key),)


def _source_rules(adapter: Adapter, settings: Settings) -> Iterator[Finding]:
    """A repository is somebody's: its organisation must be allowed. A path of this host is the operator's own."""
    hub, pool = adapter.source.hub if adapter.source else None, settings.pool or Pool()
    if hub is None:
        return
    organisation = hub.repo.partition("/")[0]
    if organisation in pool.allowed_orgs:
        return
    near = nearest(organisation, pool.allowed_orgs, 1)
    hint = f"did you mean {near[0]}? Names are case-sensitive" if near else f"add {organisation} to pool.allowedOrgs"
    allowed = ", ".join(pool.allowed_orgs) or "nobody, it is empty"
    message = f"found {hub.repo}: {organisation} is not in pool.allowedOrgs; allowed: {allowed}"
    yield Finding(("source", "hub", "repo"), message, hint, elsewhere=(("pool", "allowedOrgs"),))


def _file_names(adapter: Adapter) -> Iterator[Finding]:
    for name in (adapter.expect.sha256 or {}) if adapter.expect else ():
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            message = f"found {name!r}; allowed: the name of a file, such as adapter_model.safetensors"
            yield Finding(("expect", "sha256", name), message)


# --- serving


def _serving_rules(adapter: Adapter, serving: AdapterServing, settings: Settings) -> Iterator[Finding]:
    runtimes = _runtimes(settings)
    runtime = runtimes.get(serving.target)
    if runtime is None:
        near = nearest(serving.target, runtimes, 1)
        hint = f"did you mean {near[0]}?" if near else "add the target, or name another"
        message = f"found {serving.target!r}; allowed: {', '.join(runtimes)}"
        yield Finding(("target",), message, hint, elsewhere=_judged_by(settings, "name"))
        return
    if runtime not in SERVE_ADAPTERS:
        message = f"found {serving.target!r}, which has no adapters: it is a target with 'runtime: {runtime}'"
        hint = f"name a target with 'runtime: {' or '.join(SERVE_ADAPTERS)}'"
        yield Finding(("target",), message, hint, elsewhere=_judged_by(settings, "runtime"))
    elif serving.scale != 1.0 and runtime not in TAKES_SCALE:
        message = f"found {serving.scale:g} for a target with 'runtime: {runtime}', which applies adapters as they are"
        yield Finding(("scale",), message, "leave it out", elsewhere=_judged_by(settings, "runtime"))
    slot = _slot(settings, adapter.base)
    if slot is not None and slot.target is not None and slot.target != serving.target:
        message = f"found {serving.target!r}, but its base, slot {slot.name}, goes to {slot.target}"
        hint = f"write 'target: {slot.target}'"
        yield replace(
            Finding(("target",), message, hint), elsewhere=_of_slot(settings, slot, "target")
        )  # an adapter stands where its base does


def _runtimes(settings: Settings) -> dict[str, str]:
    """Kind of each target by name; where the file lists none, of the one that is implied."""
    if settings.targets is not None:
        return {target.name: target.runtime for target in settings.targets}
    name = implied_target_name(settings)
    return {name: name}


def _judged_by(settings: Settings, key: str) -> tuple[Path, ...]:
    installer: Path = ("installer", "backend") if settings.installer else ("installer",)
    return (*of_each_target(settings, key), installer)


# --- names


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that requests use on a target."""

    name: str
    target: str | None
    path: Path
    whose: str

    def clashes_with(self, other: _Name) -> bool:
        return self.name.casefold() == other.name.casefold() and may_meet(self.target, other.target)

    def is_twin_of(self, other: _Name) -> bool:
        """Two entries have one name: another rule says so."""
        alike = self.whose.casefold() == other.whose.casefold()
        return alike and self.path[-1] == other.path[-1] == "name"


def _names_are_apart(settings: Settings) -> Iterator[Finding]:
    """On one target a name stands for one thing: an adapter, or the slot whose alias it is."""
    seen = [
        _Name(slot.alias, slot.target, ("slots", index, "alias"), f"the alias of slot {slot.name!r}")
        for index, slot in enumerate(settings.slots or ())
        if slot.alias is not None
    ]
    for name in _adapter_names(settings):
        first = next((one for one in seen if one.clashes_with(name)), None)
        seen.append(name)
        if first is None or first.path == name.path or first.is_twin_of(name):
            continue
        found = f"{name.name!r}, {first.whose}"
        if name.path[-1] == "target":
            found = f"{name.target!r}, where {name.name!r} is {first.whose.removesuffix(' there')} already"
        message = f"found {found}; allowed: each once per target"
        finding = Finding(
            name.path, message, "give it another name with 'as'", first.path,
            elsewhere=((*name.path[:-1], "target"), (*first.path[:-1], "target")),
        )  # fmt: skip
        places = (path for path in (name.path, first.path) if path[0] == "adapters")
        yield _unless_absent(finding, *(int(path[1]) for path in places))


def _adapter_names(settings: Settings) -> Iterator[_Name]:
    for index, adapter in enumerate(settings.adapters):
        for at, serving in enumerate(() if adapter.absent else adapter.serve):
            name = serving.as_name or adapter.name
            path: Path = ("adapters", index, "serve", at, "as") if serving.as_name else ("adapters", index, "name")
            if path[-1] == "name" and at:
                path = ("adapters", index, "serve", at, "target")
            whose = f"the name of adapter {adapter.name!r} there"
            yield _Name(name, serving.target, path, whose)
            if adapter.gate is not None and adapter.gate.on_missing == "serve-as-candidate":
                yield _Name(name + CANDIDATE_SUFFIX, serving.target, path, whose)
