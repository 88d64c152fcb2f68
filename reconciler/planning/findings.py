"""What a person should know that changes nothing: in every plan, in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.advice import ollama_default_context
from reconciler.domain.families import family_warnings
from reconciler.domain.names import glob_matches
from reconciler.domain.observation import UnknownTarget
from reconciler.domain.plan import Budget, Drift
from reconciler.domain.units import show_bytes
from reconciler.planning.adapter_standing import adapter_drift
from reconciler.planning.content import as_recorded
from reconciler.planning.option import Option
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick
from reconciler.planning.shortage import shortage
from reconciler.ranking.numbers import CONTEXT_STEP


def findings(scene: Scene, picks: Sequence[Pick]) -> tuple[str, ...]:
    """Warnings of one plan, each once."""
    found = [
        *scene.desired.notices,
        *scene.observation.warnings,
        *_doubts_about_the_machine(scene),
        *scene.observation.catalogue.notes,
        *family_warnings(scene.desired, scene.observation.catalogue.models),
        *_unknown_targets(scene),
        *_keeps_without_match(scene),
        *_orphans(scene),
        *_contexts_not_served(scene, picks),
        *_memory(scene, picks),
    ]
    return tuple(dict.fromkeys(found))


def drift_of(scene: Scene) -> tuple[Drift, ...]:
    """What is not as we recorded it, on targets that answered."""
    found = []
    for target in scene.desired.targets:
        if target.name not in scene.observed:
            continue
        for entry in scene.record.entries:
            if entry.target_key != target.key:
                continue
            installed = scene.installed(target.name, entry.name)
            if installed is None:
                found.append(Drift(target=target.name, name=entry.name, kind="missing", before=entry.digest))
            elif as_recorded(scene, target.name, installed, entry) == "other":
                found.append(
                    Drift(
                        target=target.name,
                        name=entry.name,
                        kind="content-changed",
                        before=entry.digest,
                        after=installed.digest,
                    )
                )
    return (*found, *adapter_drift(scene))


def _doubts_about_the_machine(scene: Scene) -> list[str]:
    """What detection could not know. A machine without an NVIDIA card is no doubt: there is nothing to probe."""
    return [
        f"hardware: {warning.message} ({warning.code})"
        for warning in scene.observation.hardware.warnings
        if not (warning.code == "nvidia_probe_failed" and "not installed" in (warning.cause or "").lower())
    ]


def over_budget(budgets: Sequence[Budget]) -> tuple[str, ...]:
    """Budgets that are broken even after this plan, because what is over is kept."""
    return tuple(
        f"{budget.scope}: {show_bytes(budget.after_bytes)} of ours stay, {show_bytes(budget.limit_bytes)} is the budget"
        for budget in budgets
        if budget.after_bytes > budget.limit_bytes
    )


def _unknown_targets(scene: Scene) -> list[str]:
    return [
        f"target {target.name} is unknown, so nothing changes there: {target.reason}"
        f"{f' ({target.hint})' if target.hint else ''}"
        for target in scene.observation.targets
        if isinstance(target, UnknownTarget) and target.name in scene.targets
    ]


def _keeps_without_match(scene: Scene) -> list[str]:
    names = {
        name
        for models in scene.models_on.values()
        for model in models
        for name in (model.name, model.repo or "", f"{model.repo}:{model.quant}")
    } | {name for entry in scene.record.entries for name in (entry.name, entry.model_id)}
    return [
        f"keep: {pattern!r} matches nothing that is installed"
        for pattern in scene.desired.pool.keep
        if not any(glob_matches(pattern, name) for name in names)
    ]


def _orphans(scene: Scene) -> list[str]:
    keys, gone = {target.key for target in scene.desired.targets}, "is orphaned: its target left the file"
    models = [
        f"{entry.name} on {entry.target_name} {gone}; `destroy` or `disown` settles it"
        for entry in scene.record.entries
        if entry.target_key not in keys
    ]
    names = [
        f"the name {alias.name} on {alias.target_name} {gone}; `destroy` removes it"
        for alias in scene.record.aliases
        if alias.target_key not in keys
    ]
    adapters = [
        f"the adapter {one.name} on {one.target_name} {gone}; `destroy` detaches it"
        for one in scene.record.adapters
        if one.target_key not in keys
    ]
    return [*models, *names, *adapters]


def _contexts_not_served(scene: Scene, picks: Sequence[Pick]) -> list[str]:
    """Targets that serve another context than was planned, where that matters, and what to set."""
    found = []
    for pick in picks:
        observed, option = scene.observed.get(pick.option.target.name), pick.option
        if pick.slot.load and option.target.preset is None:
            found.append(
                f"{pick.address}: {option.target.name} cannot be told to load a model, so `load` changes nothing"
            )
        own = option.installed.model_context if option.installed else None
        served = own or (observed.served_context if observed else None)
        if served is None and option.target.runtime == "ollama":
            served = ollama_default_context(scene.hardware(option.target).vram_bytes)
        if served is None:
            found += _context_not_set(pick)
            continue
        said, tokens = _shorter(pick, served) or _longer(option, served) or ("", 0)
        if said and option.target.runtime == "ollama" and pick.slot.alias is not None:
            continue  # a request under the alias gets what the slot asks
        if said and option.target.runtime == "ollama":
            said += f": start the server with OLLAMA_CONTEXT_LENGTH={tokens}"
            said += f", unless the model was made with num_ctx {own}" if own else ""
        if said and option.target.runtime == "llama-server":
            said += f": {_how_to_set(option)}"
        if said:
            found.append(f"{pick.address}: {option.target.name} {said}")
    return found


def _context_not_set(pick: Pick) -> list[str]:
    """A router that was told nothing gives what fits when it loads: maybe not what the slot asks."""
    option = pick.option
    if pick.slot.context is None or option.target.runtime != "llama-server" or option.target.preset:
        return []
    return [f"{pick.address}: {option.target.name} is not told to serve {option.context} tokens: {_how_to_set(option)}"]


def _how_to_set(option: Option) -> str:
    if option.installed is not None and option.target.preset and not option.installed.serving_is_ours:
        return f"the section of {option.name} in its preset file is not ours; set ctx-size there"
    if option.target.preset:
        return "start it without -c, -np, -ctk and -ctv, which its preset file cannot override"
    return "start it with --models-preset FILE, and write `preset: FILE` at the target"


def _shorter(pick: Pick, served: int) -> tuple[str, int] | None:
    """It serves less than the slot asks; and how many tokens it should."""
    option = pick.option
    if pick.slot.context is None or served >= option.context:
        return None
    asked = f"max, here {option.context}" if option.context_is_max else f"{option.context}"
    return f"serves {served} tokens, the slot asks {asked}", option.context


def _longer(option: Option, served: int) -> tuple[str, int] | None:
    """An Ollama serves more than fits: what is planned fits, what it will load does not."""
    served = min(served, option.candidate.model.context_length or served)
    fitting = option.assessment.memory.max_context
    if option.target.runtime != "ollama" or not option.assessment.fits or fitting is None or fitting >= served:
        return None
    tokens = max(option.context, fitting - fitting % CONTEXT_STEP)
    return f"serves {served} tokens, and {fitting} fit, so that the processor would do a part of the work", tokens


def _memory(scene: Scene, picks: Sequence[Pick]) -> list[str]:
    """A pin that does not fit, and a model that does not fit beside what runs now: warnings, never reasons."""
    found = []
    for pick in picks:
        hardware = scene.hardware(pick.option.target)
        needed, capacity = pick.option.assessment.memory.total_bytes, hardware.capacity_bytes
        name = f"{pick.option.candidate.model.id} at {pick.option.candidate.quant}"
        if needed > capacity:
            found.append(
                f"{pick.address}: {name} {shortage(pick.option.assessment.memory, pick.option.context, hardware)}"
            )
            continue
        devices = [device.free_bytes for device in hardware.devices if device.free_bytes is not None]
        free = sum(devices) if devices else (hardware.ram_free_bytes if not hardware.devices else None)
        if free is not None and needed > free and pick.option.installed is None:
            found.append(
                f"{pick.address}: {name} needs about {show_bytes(needed)} of memory, {show_bytes(free)} free now"
            )
    return found
