"""What the keys of a desired state file must mean together: the rules that no schema can hold.

Every rule is a generator of findings, so that one reading tells all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pydantic.alias_generators import to_camel

from reconciler.domain.advice import VLLM_RANKS
from reconciler.domain.desired_adapter_rules import adapter_rules
from reconciler.domain.desired_document import (
    Block,
    HardwareOverride,
    Long,
    Pool,
    Settings,
    Slot,
    Target,
    TargetOverride,
)
from reconciler.domain.desired_finding import (
    Finding,
    Path,
    below,
    implied_target_name,
    may_meet,
    names_are_unique,
    of_each_target,
)
from reconciler.domain.names import (
    DEFAULT_HOST,
    HUB_HOSTS,
    OLLAMA_LIBRARY,
    OllamaName,
    glob_matches,
    is_ollama_name,
    nearest,
    same_stable_name,
    split_repo,
)
from reconciler.domain.units import parse_duration

HOUR_SECONDS = 3600.0


def broken_rules(settings: Settings) -> Iterator[Finding]:
    """Everything in the settings that is well formed and makes no sense."""
    yield from names_are_unique("slots", [slot.name for slot in settings.slots or ()])
    yield from names_are_unique("targets", [target.name for target in settings.targets or ()])
    for index, target in enumerate(settings.targets or ()):
        for finding in _target_rules(target):
            yield below(finding, "targets", index)
    yield from _places_are_apart(settings.targets or [])
    for index, slot in enumerate(settings.slots or ()):
        for finding in (*_slot_rules(slot, settings), *_alias_rules(slot)):
            yield below(finding, "slots", index)
    yield from _aliases_are_apart(settings.slots or [])
    yield from adapter_rules(settings)
    yield from _installer_rules(settings)
    yield from _refresh_rules(settings)
    if settings.hardware and settings.hardware.override:
        for finding in _machine_rules(settings.hardware.override):
            yield below(finding, "hardware", "override")


# --- targets


def is_loopback(endpoint: str) -> bool:
    """Whether a URL means this host."""
    host = host_of(endpoint)
    if re.fullmatch(r"127(\.[0-9]{1,3}){3}", host):
        return True
    return host in ("localhost", "[::1]", "0.0.0.0") or host.endswith(".localhost")  # noqa: S104


def host_of(endpoint: str) -> str:
    """Host of a URL in lower case, without its port.

    >>> host_of("http://[::1]:80/x"), host_of("https://Big.lan:11434")
    ('[::1]', 'big.lan')
    """
    rest = endpoint.partition("://")[2].partition("/")[0].lower()
    return rest.partition("]")[0] + "]" if rest.startswith("[") else rest.partition(":")[0]


_TAKES = {"endpoint": ("ollama", "llama-server", "advisory", "lm-studio", "vllm"), "path": ("store",),
          "registry": ("ollama",), "insecure": ("ollama",), "cache": ("llama-server",), "preset": ("llama-server",),
          "api_key_from": ("llama-server", "vllm"), "max_lora_rank": ("vllm",), "program": ("advisory",)}  # fmt: skip


def _target_rules(target: Target) -> Iterator[Finding]:
    for key, runtimes in _TAKES.items():
        if key in target.model_fields_set and target.runtime not in runtimes:
            allowed = " or ".join(runtimes)
            message = f"found on a target with 'runtime: {target.runtime}'; allowed: with {allowed}"
            yield Finding((to_camel(key),), message, rests_on=(("runtime",),))
    if target.insecure and target.registry is None and target.runtime == "ollama":
        message = "found without 'registry'; allowed: together with it"
        yield Finding(("insecure",), message, "add the registry it is about", rests_on=(("registry",),))
    if target.max_lora_rank is not None and target.max_lora_rank not in VLLM_RANKS:
        near = next(rank for rank in VLLM_RANKS if rank >= target.max_lora_rank)
        message = f"found {target.max_lora_rank}; allowed: {', '.join(map(str, VLLM_RANKS))}"
        yield Finding(("maxLoraRank",), message, f"write 'maxLoraRank: {near}' if it was started so")
    yield from _machine_of_target(target)


def _machine_of_target(target: Target) -> Iterator[Finding]:
    machine = target.hardware
    if machine is not None:
        inner = machine.override if isinstance(machine, TargetOverride) else machine
        at = ("hardware", "override") if isinstance(machine, TargetOverride) else ("hardware",)
        for finding in _machine_rules(inner):
            yield below(finding, *at)
    if target.endpoint is None or is_loopback(target.endpoint):
        if machine is not None:
            message = "found on a target of this host; allowed: on a target elsewhere"
            hint = "to describe this host, write it as 'hardware: {override: …}' at the top"
            yield Finding(("hardware",), message, hint, rests_on=(("endpoint",),))
        return
    where = f"{target.endpoint} is not on this host"
    if machine is None:
        line = "hardware: {platform: nvidia, vramGb: 24, bandwidthGbps: 1008}"
        message = f"{where}, so its machine cannot be observed; 'hardware' is missing"
        yield Finding((), message, f"add '{line}'", rests_on=(("hardware",),))
    if target.disk_budget is None and target.disk_budget_gb is None:
        message = f"{where}, so its disk cannot be observed; 'diskBudget' is missing"
        yield Finding((), message, "add 'diskBudget: 500GB'", rests_on=(("diskBudget",), ("diskBudgetGb",)))


def _machine_rules(machine: HardwareOverride) -> Iterator[Finding]:
    if machine.platform == "cpu":
        if not (machine.ram_gb or machine.vram_gb):
            message = "a machine without accelerator needs 'ramGb'"
            yield Finding((), message, "add 'ramGb: 32'", rests_on=(("platform",), ("ramGb",), ("vramGb",)))
    elif not machine.vram_gb:
        found = "found 0" if machine.vram_gb == 0 else "'vramGb' is missing"
        at = ("vramGb",) if machine.vram_gb == 0 else ()
        hint = "add 'vramGb: 24', or write 'platform: cpu'"
        message = f"{found}; allowed: more than 0 on platform {machine.platform}"
        yield Finding(at, message, hint, rests_on=(("platform",), ("vramGb",)))


_SERVERS = {"ollama": "http://127.0.0.1:11434", "llama-server": "http://127.0.0.1:8080"}
"""Where a server is without ``endpoint``."""


def _places_are_apart(targets: list[Target]) -> Iterator[Finding]:
    """Two targets on one place would count its models twice."""
    seen: dict[tuple[str, str], int] = {}
    for index, target in enumerate(targets):
        if target.runtime not in ("store", *_SERVERS) and not (target.runtime == "vllm" and target.endpoint):
            continue
        first = seen.setdefault((target.runtime, _place_of(target)), index)
        if first != index:
            other = targets[first].name
            message = f"found the same place as target {other!r}; allowed: each place once"
            rests_on = tuple(("targets", one, key) for one in (first, index) for key in ("runtime", "path", "endpoint"))
            yield Finding(("targets", index), message, "remove one of the two", ("targets", first), rests_on)


def _place_of(target: Target) -> str:
    if target.runtime == "store":
        return (target.path or "").rstrip("/")
    endpoint = target.endpoint or _SERVERS[target.runtime]
    return endpoint.rstrip("/").lower().replace("//localhost", "//127.0.0.1")


_BACKEND: tuple[Path, ...] = (("installer", "backend"),)


def _installer_rules(settings: Settings) -> Iterator[Finding]:
    installer = settings.installer
    if installer is None or installer.ollama_endpoint is None:
        return
    at: Path = ("installer", "ollamaEndpoint")
    if installer.backend != "ollama":
        yield Finding(at, f"found with 'backend: {installer.backend}'; allowed: with ollama", rests_on=_BACKEND)
    elif not is_loopback(installer.ollama_endpoint) and not (settings.hardware and settings.hardware.override):
        message = f"{installer.ollama_endpoint} is not on this host, so its machine cannot be observed"
        hint = "write it under 'targets' with 'hardware' and 'diskBudget', or add 'hardware: {override: …}'"
        yield Finding(at, message, hint, rests_on=(*_BACKEND, ("hardware", "override")))


def _refresh_rules(settings: Settings) -> Iterator[Finding]:
    refresh = settings.refresh
    if refresh is not None and refresh.interval is not None and parse_duration(refresh.interval) < HOUR_SECONDS:
        yield Finding(("refresh", "interval"), f"found {refresh.interval}; allowed: 1h and more")
    if settings.interval is not None and parse_duration(settings.interval) < 1:
        yield Finding(("interval",), f"found {settings.interval}; allowed: 1s and more")


# --- slots


_CHOOSING = {"profile": "profile", "capabilities": "capabilities", "min_tokens_per_second": "minTokensPerSecond",
             "max_size": "maxSize"}  # fmt: skip


def _slot_rules(slot: Slot, settings: Settings) -> Iterator[Finding]:
    if slot.model is None:
        yield from _ranked_rules(slot)
    else:
        yield from _pin_rules(slot, slot.model, settings)
    yield from _target_exists(slot, settings)


def _ranked_rules(slot: Slot) -> Iterator[Finding]:
    if slot.quant is not None:
        message, hint = "found without 'model'; allowed: on a pin", f"write 'quants: [{slot.quant}]'"
        yield Finding(("quant",), message, hint, rests_on=(("model",),))
    if slot.revision is not None:
        message, hint = "found without 'model'; allowed: on a pin", "add 'model', or remove it"
        yield Finding(("revision",), message, hint, rests_on=(("model",),))


def _pin_rules(slot: Slot, model: str, settings: Settings) -> Iterator[Finding]:
    for name, key in _CHOOSING.items():
        if name in slot.model_fields_set:
            message = f"found together with 'model'; a pin names its model, and '{key}' is for choosing one"
            yield Finding((key,), message, f"remove '{key}', or remove 'model'")
    if slot.count > 1:
        yield Finding(("count",), f"found {slot.count} on a pin; allowed: 1, because a pin is one model")
    if slot.quant is not None and slot.quants is not None:
        yield Finding(("quants",), "found together with 'quant'; allowed: one of the two")
    try:
        organisation = _organisation_of(model, settings)
    except ValueError as error:
        yield Finding(("model",), str(error), "write org/name, or an Ollama name such as qwen3:8b")
        return
    pool = settings.pool or Pool()
    trusted: tuple[Path, ...] = (("pool", "allowedOrgs"), ("pool", "packagers"), *_registries(model, settings))
    for finding in _pin_is_allowed(model, organisation, pool):
        yield replace(finding, elsewhere=trusted)
    yield from _pin_is_not_forbidden(slot, model, pool)
    yield from _pin_has_a_home(slot, model, settings)


def _registries(model: str, settings: Settings) -> tuple[Path, ...]:
    """Where the file may say that the host of an Ollama name is a registry."""
    if not is_ollama_name(model) or OllamaName.parse(model).host in (DEFAULT_HOST, *HUB_HOSTS):
        return ()
    return of_each_target(settings, "registry")


def _organisation_of(model: str, settings: Settings) -> str:
    """Who packages what a pin names.

    Raises:
        ValueError: it is no name at all.
    """
    if not is_ollama_name(model):
        return split_repo(model)[0]
    name = OllamaName.parse(model)
    registries = {target.registry for target in settings.targets or ()}
    if name.host not in (DEFAULT_HOST, *HUB_HOSTS, *registries):
        return name.host
    return OLLAMA_LIBRARY if name.namespace == "library" else name.namespace


def _pin_is_allowed(model: str, organisation: str, pool: Pool) -> Iterator[Finding]:
    if organisation in pool.allowed_orgs:
        return
    if not pool.allowed_orgs:
        message = f"found {model}, but pool.allowedOrgs is empty, so nothing may be installed"
        yield Finding(("model",), message, "add the publisher of the model to pool.allowedOrgs")
    elif organisation not in pool.packagers:
        near = nearest(organisation, (*pool.allowed_orgs, *pool.packagers), 1)
        add = f"add {organisation} to pool.packagers, or to pool.allowedOrgs where it made the model"
        hint = f"did you mean {near[0]}? Names are case-sensitive" if near else add
        allowed = ", ".join((*pool.allowed_orgs, *pool.packagers))
        message = (
            f"found {model}: {organisation} is neither in pool.allowedOrgs nor in pool.packagers; allowed: {allowed}"
        )
        yield Finding(("model",), message, hint)


def _pin_is_not_forbidden(slot: Slot, model: str, pool: Pool) -> Iterator[Finding]:
    names = [model]
    if is_ollama_name(model):
        names.append(OllamaName.parse(model).canonical)
    elif slot.quant:
        names += [f"{model}:{slot.quant}", f"hf.co/{model}:{slot.quant}"]
    for index, pattern in enumerate(pool.never):
        if any(glob_matches(pattern, name) for name in names):
            message = f"found {model}, which pool.never forbids by {pattern!r}"
            yield Finding(("model",), message, "remove the pin, or the pattern", ("pool", "never", index))
            return


def _pin_has_a_home(slot: Slot, model: str, settings: Settings) -> Iterator[Finding]:
    """An Ollama name needs an Ollama: a store takes files of Hub repositories."""
    if not is_ollama_name(model) or settings.installer is not None:
        return
    targets = settings.targets or []
    wanted = [index for index, target in enumerate(targets) if slot.target in (None, target.name)]
    takes_files = ("store", "llama-server")
    if any(targets[index].runtime not in takes_files for index in wanted) or (targets and not wanted):
        return
    judged_by: tuple[Path, ...] = tuple(("targets", index, "runtime") for index in wanted) or (("targets",),)
    message = f"found {model}, an Ollama name, but no target of this slot is an Ollama; others take org/name"
    hint = "add a target with 'runtime: ollama', or pin a Hub repository"
    yield Finding(("model",), message, hint, elsewhere=(*judged_by, ("installer",)))


def _alias_rules(slot: Slot) -> Iterator[Finding]:
    if slot.alias is None:
        return
    if slot.count > 1:
        message = f"found on a slot with 'count: {slot.count}'; allowed: with 1, because a name stands for one model"
        yield Finding(("alias",), message, "write one slot for each model", rests_on=(("count",),))
    if slot.model is not None and is_ollama_name(slot.model) and same_stable_name("ollama|", slot.alias, slot.model):
        message = f"found {slot.alias!r}, the name of the pinned model itself; allowed: another name"
        yield Finding(("alias",), message, f"write 'alias: my-{slot.alias}', or leave it out", rests_on=(("model",),))


def _aliases_are_apart(slots: list[Slot]) -> Iterator[Finding]:
    """On one target a name stands for one model; a slot without a target may go to any."""
    seen: list[tuple[int, str, str | None]] = []
    for index, slot in enumerate(slots):
        if slot.alias is None:
            continue
        folded = slot.alias.casefold()
        first = next((one for one, name, target in seen if name == folded and may_meet(target, slot.target)), None)
        seen.append((index, folded, slot.target))
        if first is not None:
            message = f"found {slot.alias!r}, the alias of slot {slots[first].name!r}; allowed: each once per target"
            hint = "give one of the two another name, or name a 'target' of its own at both"
            rests_on = tuple(("slots", one, "target") for one in (first, index))
            yield Finding(("slots", index, "alias"), message, hint, ("slots", first, "alias"), rests_on)


def _target_exists(slot: Slot, settings: Settings) -> Iterator[Finding]:
    if slot.target is None:
        return
    names = [target.name for target in settings.targets or ()] or [implied_target_name(settings)]
    if slot.target not in names:
        near = nearest(slot.target, names, 1)
        hint = f"did you mean {near[0]}?" if near else "add the target, or leave 'target' out"
        message = f"found {slot.target!r}; allowed: {', '.join(dict.fromkeys(names))}"
        installer: Path = ("installer", "backend") if settings.installer else ("installer",)
        yield Finding(("target",), message, hint, elsewhere=(*of_each_target(settings, "name"), installer))


def document_name(document: object) -> str:
    """Whose record the document is."""
    if isinstance(document, Long):
        return document.metadata.name
    block = getattr(document, "local_models", None)
    return block.name or "default" if isinstance(block, Block) else "default"
