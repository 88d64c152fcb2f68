"""From what a person wrote to what the code reads: defaults filled in, units turned into bytes and seconds."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from reconciler.domain import desired as read
from reconciler.domain import desired_document as written
from reconciler.domain.adapter_reading import adapters_of
from reconciler.domain.advice import Program
from reconciler.domain.desired_finding import implied_target_name
from reconciler.domain.desired_rules import document_name, is_loopback
from reconciler.domain.units import GIB, Bytes, parse_duration, parse_size, show_duration

HUB_ENDPOINT = "https://huggingface.co"
OLLAMA_ENDPOINT = "http://localhost:11434"
LLAMA_SERVER_ENDPOINT = "http://localhost:8080"
IMPLIED_SLOTS: tuple[read.Slot, ...] = (
    read.Slot(name="general", profile="general"),
    read.Slot(name="coding", profile="coding"),
    read.Slot(name="reasoning", profile="reasoning"),
)
_RUNTIMES: dict[str, read.RuntimeKind] = {
    "store": "store", "ollama": "ollama", "llama-server": "llama-server", "advisory": "advisory",
    "lm-studio": "advisory", "vllm": "advisory",
}  # fmt: skip
_ENDPOINTS = {"ollama": OLLAMA_ENDPOINT, "llama-server": LLAMA_SERVER_ENDPOINT}


def settings_of(document: written.Document) -> written.Settings:
    return document.spec if isinstance(document, written.Long) else document.local_models


def to_desired(
    document: written.Document,
    *,
    environment: Mapping[str, str],
    folder: str = "/",
    source: str = "",
    digest: str = "",
    slot_lines: tuple[int | None, ...] = (),
    adapter_lines: tuple[int | None, ...] = (),
) -> read.DesiredState:
    """The desired state of a document that breaks no rule.

    Args:
        document: either form.
        environment: HF_ENDPOINT and HF_TOKEN stand in for what ``hub`` leaves out; HOME for ``~``.
        folder: absolute folder of the file; relative paths start there.
        source: the file, as the record remembers it.
        digest: hex SHA-256 of the file's bytes.
        slot_lines: line of each slot, counted from 1.
        adapter_lines: line of each adapter, counted from 1.
    """
    settings = settings_of(document)
    at = _Folder(folder, environment)
    targets, notices = _targets(settings, at)
    return read.DesiredState(
        name=document_name(document),
        enabled=settings.enabled,
        pool=_pool(settings.pool or written.Pool()),
        slots=IMPLIED_SLOTS if settings.slots is None else _slots(settings.slots, slot_lines),
        slots_implied=settings.slots is None,
        targets=targets,
        adapters=adapters_of(settings.adapters, at.path, adapter_lines),
        fuses=_fuses(settings.fuses or written.Fuses()),
        approval=settings.approval,
        refresh=_refresh(settings.refresh or written.Refresh()),
        interval_seconds=300.0 if settings.interval is None else parse_duration(settings.interval),
        hub=_hub(settings.hub or written.Hub(), at, environment),
        hardware=_override(settings.hardware.override if settings.hardware else None),
        limits=_limits(settings.limits or written.Limits()),
        source=source,
        digest=digest,
        notices=(*notices, *_policy_notices(settings)),
    )


class _Folder:
    """Where relative paths of the file start."""

    def __init__(self, folder: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._home = environment.get("HOME", "")

    def path(self, text: str) -> str:
        """Absolute and normalised, so that one folder is one target whatever its spelling."""
        if self._home and (text == "~" or text.startswith("~/")):
            text = self._home + text[1:]
        return posixpath.normpath(posixpath.join(self._folder, text))


def _size(text: str | None, gibibytes: float | None = None) -> Bytes | None:
    if gibibytes is not None:
        return Bytes(max(1, round(gibibytes * GIB)))
    return None if text is None else parse_size(text)


def _pool(pool: written.Pool) -> read.Pool:
    budget = _size(pool.disk_budget, pool.disk_budget_gb)
    return read.Pool(
        disk_budget=Bytes(100 * GIB) if budget is None else budget,
        min_free_disk=_size(pool.min_free_disk),
        allowed_orgs=tuple(pool.allowed_orgs),
        packagers=tuple(pool.packagers),
        allowed_families=tuple(pool.allowed_families),
        allowed_licenses=tuple(pool.allowed_licenses),
        prune=pool.prune,
        keep=tuple(pool.keep),
        never=tuple(pool.never),
        allow_gap=pool.allow_gap,
    )


def _slots(slots: list[written.Slot], lines: tuple[int | None, ...]) -> tuple[read.Slot, ...]:
    return tuple(_slot(slot, lines[index] if index < len(lines) else None) for index, slot in enumerate(slots))


def _slot(slot: written.Slot, line: int | None) -> read.Slot:
    return read.Slot(
        name=slot.name,
        alias=slot.alias,
        profile=slot.profile or "general",
        model=slot.model,
        quant=slot.quant,
        quants=tuple(slot.quants or ()),
        revision=slot.revision,
        context=slot.context,
        kv_cache=slot.kv_cache,
        parallel=slot.parallel,
        capabilities=tuple(slot.capabilities),
        count=slot.count,
        target=slot.target,
        min_tokens_per_second=slot.min_tokens_per_second,
        max_size=_size(slot.max_size),
        load=slot.load,
        update=slot.update,
        line=line,
    )


def _targets(settings: written.Settings, at: _Folder) -> tuple[tuple[read.Target, ...], tuple[str, ...]]:
    if settings.targets is not None:
        return tuple(_target(target, at) for target in settings.targets), ()
    if settings.installer is not None:
        return (_installer_target(settings, settings.installer),), ()
    name = implied_target_name(settings)
    line = f"targets: [{{name: {name}, runtime: store}}]"
    notice = f"no target is given, so models go to a store in the data directory; to say so in the file, add '{line}'"
    return (read.Target(name=name),), (notice,)


def _target(target: written.Target, at: _Folder) -> read.Target:
    endpoint = target.endpoint or _ENDPOINTS.get(target.runtime)
    machine = target.hardware.override if isinstance(target.hardware, written.TargetOverride) else target.hardware
    return read.Target(
        name=target.name,
        runtime=_RUNTIMES[target.runtime],
        endpoint=endpoint.rstrip("/") if endpoint else None,
        path=at.path(target.path) if target.path else None,
        registry=target.registry,
        insecure=target.insecure,
        cache=at.path(target.cache) if target.cache else None,
        preset=at.path(target.preset) if target.preset else None,
        api_key_from=_secret(target.api_key_from, at),
        max_lora_rank=target.max_lora_rank,
        program=_program(target),
        is_asked=target.runtime == "vllm" and target.endpoint is not None,
        hardware=_override(machine),
        disk_budget=_size(target.disk_budget, target.disk_budget_gb),
        is_local=endpoint is None or is_loopback(endpoint),
    )


def _program(target: written.Target) -> Program | None:
    if target.runtime == "lm-studio":
        return "lms"
    if target.runtime == "vllm":
        return "vllm"
    return (target.program or "llama-server") if target.runtime == "advisory" else None


def _installer_target(settings: written.Settings, installer: written.Installer) -> read.Target:
    """The origin's one target. Elsewhere than on this host, it takes the override and the pool's budget."""
    if installer.backend == "advisory":
        return read.Target(name="advisory", runtime="advisory", program="llama-server")
    endpoint = (installer.ollama_endpoint or OLLAMA_ENDPOINT).rstrip("/")
    local = is_loopback(endpoint)
    pool = _pool(settings.pool or written.Pool())
    return read.Target(
        name="ollama",
        runtime="ollama",
        endpoint=endpoint,
        hardware=None if local else _override(settings.hardware.override if settings.hardware else None),
        disk_budget=None if local else pool.disk_budget,
        is_local=local,
    )


def _override(machine: written.HardwareOverride | None) -> read.HardwareOverride | None:
    """A CPU-only machine of the origin had to carry its memory as ``vramGb``: there it is main memory."""
    if machine is None:
        return None
    vram, ram = machine.vram_gb or 0.0, machine.ram_gb
    if machine.platform == "cpu":
        vram, ram = 0.0, ram or vram
    return read.HardwareOverride(
        platform=machine.platform,
        vram_bytes=Bytes(round(vram * GIB)),
        bandwidth_gbps=machine.bandwidth_gbps,
        ram_bytes=None if ram is None else Bytes(round(ram * GIB)),
        gpu_name=machine.gpu_name,
        cpu_name=machine.cpu_name,
        gpu_count=machine.gpu_count,
    )


def _fuses(fuses: written.Fuses) -> read.Fuses:
    return read.Fuses(
        max_evictions=fuses.max_evictions, max_evict_share=fuses.max_evict_share, allow_empty=fuses.allow_empty
    )


def _refresh(refresh: written.Refresh) -> read.Refresh:
    """The jitter is cut so that a refresh never comes earlier than an hour after the one before."""
    interval = _seconds(refresh.interval, refresh.interval_ms, 86_400.0)
    jitter = _seconds(refresh.jitter, refresh.jitter_ms, 600.0)
    return read.Refresh(
        interval_seconds=interval,
        jitter_seconds=min(jitter, max(0.0, interval - 3600.0)),
        proposal_threshold=refresh.proposal_threshold,
    )


def _seconds(text: str | None, milliseconds: int | None, default: float) -> float:
    if milliseconds is not None:
        return milliseconds / 1000
    return default if text is None else parse_duration(text)


def _hub(hub: written.Hub, at: _Folder, environment: Mapping[str, str]) -> read.Hub:
    endpoint = hub.endpoint or environment.get("HF_ENDPOINT") or HUB_ENDPOINT
    reference = read.SecretReference(env="HF_TOKEN") if environment.get("HF_TOKEN") else None
    return read.Hub(endpoint=endpoint.rstrip("/"), token_from=_secret(hub.token_from, at) or reference)


def _secret(reference: written.SecretReference | None, at: _Folder) -> read.SecretReference | None:
    if reference is None:
        return None
    return read.SecretReference(env=reference.env, file=at.path(reference.file) if reference.file else None)


def _limits(limits: written.Limits) -> read.Limits:
    return read.Limits(download_rate=_size(limits.download_rate), concurrent_downloads=limits.concurrent_downloads)


def _policy_notices(settings: written.Settings) -> tuple[str, ...]:
    pool, notices = settings.pool or written.Pool(), []
    if not pool.allowed_orgs and settings.slots != []:
        notices.append(
            "pool.allowedOrgs is empty, so nothing may be installed; "
            "'localmodels suggest' says what each publisher would open"
        )
    if settings.harness_fit is not None:
        notices.append("harnessFit is off and not supported yet; it changes nothing")
    refresh = settings.refresh or written.Refresh()
    wanted, used = _seconds(refresh.jitter, refresh.jitter_ms, 600.0), _refresh(refresh).jitter_seconds
    if used < wanted and refresh.model_fields_set & {"jitter", "jitter_ms"}:
        notices.append(
            f"refresh.jitter is cut from {show_duration(wanted)} to {show_duration(used)}, "
            "so that two refreshes are at least 1h apart"
        )
    return tuple(notices)
