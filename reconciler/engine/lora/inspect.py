"""``lora inspect``: is this adapter whole, does it say what it is, does it fit its base, can the provider serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.domain.finding import Finding
from reconciler.engine.lora.adapter_facts import ReadAdapter, read_adapter, read_gguf_model
from reconciler.errors import ReconcilerError, UsageError
from reconciler.formats.foreign_json import read_object
from reconciler.lora import inspection as reports
from reconciler.lora.adapter_config import CONFIG_LIMIT_BYTES, AdapterConfig
from reconciler.lora.adapter_files import AdapterPlace
from reconciler.lora.adapter_lock import LOCK_LIMIT_BYTES, AdapterLock, judge_lock, read_lock
from reconciler.lora.adapter_name import judge_name, name_of
from reconciler.lora.agreement import judge_agreement, judge_weights
from reconciler.lora.base_names import NameMatch, match_names, plain_match
from reconciler.lora.base_shapes import (
    BaseFacts,
    ShapeFit,
    base_from_catalogue,
    base_from_config,
    base_from_gguf,
    fit_of,
)
from reconciler.lora.dialect import Dialect
from reconciler.lora.findings import error, is_ok, messages, note, warning
from reconciler.lora.launch import Launch, launch
from reconciler.lora.manifest_check import MANIFEST_LIMIT_BYTES, ContractReport, check_manifest, read_manifest
from reconciler.lora.routes import BaseReport, Route, ToolCallingReport
from reconciler.lora.served_features import features_of, judge_init, judge_runtime
from reconciler.ports import AdapterFiles

_SAY_IT = "save the adapter again with the library that trained it, or add what is missing"


@dataclass(frozen=True, slots=True)
class InspectRequest:
    """What a person asks about one adapter."""

    adapter: str
    """A folder, its ``adapter_config.json``, one file of weights, or a name that only the runtime resolves."""
    name: str | None = None
    manifest: str | None = None
    require_contract_id: bool = False
    tool_format: str | None = None
    """What the adapter is declared to be served with; None: what its route can serve is fine."""
    base_config: str | None = None
    """The base's ``config.json``, or its folder."""
    base_gguf: str | None = None
    base_folder: str | None = None
    """Where its server reads the base: one more name that an adapter may give it."""
    version: str | None = None
    """Of the server; None: not known."""
    beside: tuple[int, ...] = ()
    """Ranks of the other adapters the same server will load."""
    strict: bool = False
    """Whatever is a warning is an error."""
    lockfile: str | None = None
    """Compare files, base and contract id with what was accepted."""


def inspect(request: InspectRequest, route: Route, files: AdapterFiles, dialect: Dialect) -> reports.InspectReport:
    """The whole report. Nobody is asked, nothing is written, no weight is loaded.

    Raises:
        UsageError: the request contradicts itself.
        ReconcilerError: a file it names is not what it should be: ``adapter-invalid``, ``base-invalid``,
            ``manifest-invalid``, ``lockfile-invalid``.
        OutsideError: a file cannot be read.
    """
    _refuse(request)
    place = files.find(request.adapter)
    adapter = read_adapter(place, files)
    base = _base_facts(request, route, files)
    name = (request.name or "").strip() or name_of(place)
    declared = _declared(adapter)
    names = _match(declared, route, dialect, request.base_folder)
    replicates = bool(adapter.config and adapter.config.layer_replication)
    fit = fit_of(adapter.facts, base, replicates_layers=replicates) if adapter.facts and base else ShapeFit("unknown")
    served = _launch(request, route, place, adapter, name, dialect)
    contract, contract_findings = _contract(request, route, files, dialect, name, adapter)
    findings = [
        *_of_files(place, adapter),
        *(_of_base(names, fit, base, route, dialect, declared) if place.exists else ()),
        *(
            [
                warning(
                    "remote_adapter",
                    f"{place.path} is not on this machine: nothing was verified",
                    "download it and inspect the folder, or see that the path is right",
                )
            ]
            if not place.exists
            else []
        ),
        *_of_runtime(adapter, route, dialect, request.version),
        *served.findings,
        *judge_name(name, _taken(route)),
        *contract_findings,
    ]
    report = reports.InspectReport(
        ok=True,
        base=BaseReport.of(route),
        adapter=_adapter_report(request, place, adapter, name, declared),
        contract=contract,
        compatibility=reports.CompatibilityReport(
            base_model_match=names.verdict,
            provider_supports_lora_launch=route.launches_lora,
            provider_supports_lora_max_rank=route.limits_rank,
            provider_lora_module_value_format=route.value_format,
            base_shape=reports.ShapeReport.of(fit, base),
        ),
        tool_calling=ToolCallingReport.of(route),
        launch=reports.LaunchReport(
            request_model=name,
            max_lora_rank=served.max_rank,
            command=() if dialect.launch == "harn-local" else served.argv,
            harn_local_launch=served.argv if dialect.launch == "harn-local" else (),
        ),
        warnings=(),
        weights=reports.WeightsReport.of(adapter.facts) if adapter.facts else None,
        findings=(),
    )
    return _judged(report, (*findings, *_lock_findings(request, report, files)), is_strict=request.strict)


def _judged(report: reports.InspectReport, findings: tuple[Finding, ...], *, is_strict: bool) -> reports.InspectReport:
    if is_strict:
        harder = (
            one.model_copy(update={"severity": "error"}) if one.severity == "warning" else one for one in findings
        )
        findings = tuple(harder)
    return report.model_copy(update={"ok": is_ok(findings), "warnings": messages(findings), "findings": findings})


def _lock_findings(request: InspectRequest, report: reports.InspectReport, files: AdapterFiles) -> tuple[Finding, ...]:
    if request.lockfile is None:
        return ()
    return judge_lock(accepted_in(request.lockfile, files), report.adapter.name, report.as_locked)


def accepted_in(lockfile: str, files: AdapterFiles) -> AdapterLock:
    """What a lockfile holds; nothing where there is none yet.

    Raises:
        ReconcilerError: ``lockfile-invalid``: it is no lockfile of adapters.
        OutsideError: it cannot be read.
    """
    if not files.find(lockfile).exists:
        return AdapterLock()
    try:
        return read_lock(files.beginning(lockfile, LOCK_LIMIT_BYTES + 1))
    except ValueError as flaw:
        raise _invalid(
            lockfile, str(flaw), "give a file that --update-lockfile wrote", code="lockfile-invalid"
        ) from flaw


def _refuse(request: InspectRequest) -> None:
    if not request.adapter.strip():
        raise UsageError("ADAPTER is empty", hint="name a folder, a file, or a repository")
    if request.require_contract_id and request.manifest is None:
        raise UsageError("--require-contract-id needs --manifest", hint="give the manifest the id is compared with")
    if request.base_config is not None and request.base_gguf is not None:
        raise UsageError("--base-config and --base-gguf both describe the base", hint="give one of them")


def _declared(adapter: ReadAdapter) -> str | None:
    stated = adapter.config.base_model if adapter.config else None
    return stated if stated is not None else next(iter(adapter.base_names), None)


def _match(declared: str | None, route: Route, dialect: Dialect, folder: str | None) -> NameMatch:
    if not dialect.understands_base_names:
        return NameMatch(plain_match(declared, route.id), declared)
    if folder is not None and declared is not None and _is_folder(declared, folder):
        return NameMatch("exact", declared)
    return match_names(declared, *_known_names(route))


def _is_folder(one: str, other: str) -> bool:
    """Whether two paths are spelled alike. They are paths, so case counts."""
    return one.strip().rstrip("/") == other.strip().rstrip("/")


def _known_names(route: Route) -> tuple[str, ...]:
    model = route.model
    if model is None:
        return (route.id,)
    return (
        route.id,
        model.id,
        *(each.id for each in model.repositories),
        *([model.ollama_tag] if model.ollama_tag else []),
    )


def _taken(route: Route) -> tuple[str, ...]:
    return (route.id, route.selector, *_known_names(route), route.id.rpartition("/")[2])


def _of_files(place: AdapterPlace, adapter: ReadAdapter) -> Iterator[Finding]:
    facts, config = adapter.facts, adapter.config
    if place.exists and config is None and not place.holds_gguf:
        yield error("config_missing", f"no adapter_config.json in {place.folder}", "it belongs beside the weights")
    yield from adapter.findings
    if facts is not None:
        yield from judge_weights(facts)
    if config is not None and facts is not None:
        yield from judge_agreement(facts, config)
    if config is not None:
        yield from _of_config(config, has_rank=config.rank is not None or bool(facts and facts.max_rank))


def _of_config(config: AdapterConfig, *, has_rank: bool) -> Iterator[Finding]:
    if config.is_mlx:
        if config.fine_tune_type not in (None, "lora", "dora"):
            hint = "give an adapter that was trained as LoRA, or merge this one into its base"
            yield error("peft_type_not_lora", f"fine_tune_type is {config.fine_tune_type}, not lora", hint)
    elif config.peft_type is None:
        text = "adapter_config.json does not say which kind of adapter it is (peft_type)"
        yield warning("peft_type_missing", text, _SAY_IT)
    elif config.peft_type != "LORA":
        hint = "give an adapter that was trained as LoRA, or merge this one into its base"
        yield error("peft_type_not_lora", f"peft_type is {config.peft_type}, not LORA", hint)
    if config.rank is None:
        told, name = "; its weights do" if has_rank else "", "lora_parameters.rank" if config.is_mlx else "r"
        yield warning("rank_missing", f"adapter_config.json does not say the rank ({name}){told}", _SAY_IT)
    if config.alpha is None:
        name = "lora_parameters.scale" if config.is_mlx else "lora_alpha"
        yield warning("alpha_missing", f"adapter_config.json does not say the scale ({name})", _SAY_IT)
    if config.targets is None and not config.target_parameters and not config.is_mlx:
        text = "adapter_config.json does not say which modules it changes (target_modules)"
        yield warning("targets_missing", text, _SAY_IT)
    yield from judge_init(config)


def _of_base(
    names: NameMatch, fit: ShapeFit, base: BaseFacts | None, route: Route, dialect: Dialect, declared: str | None
) -> Iterator[Finding]:
    """Widths come first: they can refuse whatever the names say, and confirm a name that is only alike."""
    if fit.verdict == "shape-mismatch":
        source = base.source if base else ""
        yield error(
            "base_shape_mismatch",
            f"the weights do not fit {route.id} as its {source} has it ({fit.different}): {'; '.join(fit.differences)}",
            "serve it on the base it was trained on",
        )
    if base is not None and base.missing:
        text = f"the base's shards are not all there, so its tensors were not compared: {', '.join(base.missing[:3])}"
        yield warning("base_shards_missing", text, "put all of them in one folder")
    confirmed = fit.verdict == "exact-shape"
    lenient = confirmed or not dialect.understands_base_names
    if names.verdict == "mismatch":
        also = "; its widths are the same, which siblings share" if confirmed else ""
        text = f"the adapter was trained on {declared}, not on {route.id}{also}"
        yield error("base_mismatch", text, "name the base that it was trained on")
    elif names.verdict == "suffix":
        make = note if lenient else warning
        text = f"the adapter names {declared}: the same last name as {route.id}, of somebody else"
        yield make("base_suffix", text, "make sure that the two are one model")
    elif names.verdict == "unknown" and dialect.understands_base_names:
        why = names.note or "the adapter does not say which base it was trained on"
        make = note if confirmed else warning
        yield make(
            "base_unstated", f"{declared}: {why}" if names.note else why, "make sure that it belongs to this base"
        )
    elif names.note:
        yield note("base_name_understood", f"{declared} was read as {names.declared}; {names.note}")


def _of_runtime(adapter: ReadAdapter, route: Route, dialect: Dialect, version: str | None) -> tuple[Finding, ...]:
    """The origin asks a runtime for its flags alone."""
    asks = dialect.own_adapter_support
    facts, config = (adapter.facts, adapter.config) if asks else (None, None)
    return judge_runtime(facts, config, route.runtime, route.provider, version)


def _base_facts(request: InspectRequest, route: Route, files: AdapterFiles) -> BaseFacts | None:
    if request.base_gguf is not None:
        return _base_of_gguf(request.base_gguf, route, files)
    if request.base_config is not None:
        return base_from_config(_base_config(request.base_config, files))
    return base_from_catalogue(route.model) if route.model is not None else None


def _base_of_gguf(path: str, route: Route, files: AdapterFiles) -> BaseFacts:
    """By all its shards; where some are not there, what the first of them says of its architecture is all."""
    try:
        header, tensors, missing = read_gguf_model(path, files)
    except ValueError as flaw:
        raise _invalid(path, str(flaw), "give the base's GGUF file", code="base-invalid") from flaw
    if header.kind != "model":
        raise _invalid(path, f"it holds a {header.kind}", "give the base's GGUF file", code="base-invalid")
    if not missing:
        return base_from_gguf(header, tensors)
    known = base_from_catalogue(route.model) if route.model is not None else None
    return replace(known or BaseFacts("gguf", header.architecture, header.layers), missing=missing)


def _base_config(given: str, files: AdapterFiles) -> Mapping[str, Any]:
    path = given if given.endswith(".json") else f"{given.rstrip('/')}/config.json"
    raw = files.beginning(path, CONFIG_LIMIT_BYTES + 1)
    try:
        return read_object(raw, limit_bytes=CONFIG_LIMIT_BYTES)
    except ValueError as flaw:
        hint = "give the config.json of the base, or its folder"
        raise _invalid(path, str(flaw), hint, code="base-invalid") from flaw


def _contract(
    request: InspectRequest, route: Route, files: AdapterFiles, dialect: Dialect, name: str, adapter: ReadAdapter
) -> tuple[ContractReport | None, tuple[Finding, ...]]:
    if request.manifest is None:
        return None, ()
    raw = files.beginning(request.manifest, MANIFEST_LIMIT_BYTES + 1)
    try:
        document = read_manifest(raw)
    except ValueError as flaw:
        hint = "give the manifest that lora export wrote"
        raise _invalid(request.manifest, str(flaw), hint, code="manifest-invalid") from flaw
    return check_manifest(
        document,
        path=request.manifest,
        route=route,
        dialect=dialect,
        name=name,
        config=adapter.config,
        targets=adapter.facts.targets if adapter.facts else (),
        digests=adapter.digests,
        known_names=_known_names(route),
        tool_format=request.tool_format,
        requires_id=request.require_contract_id,
    )


def _launch(
    request: InspectRequest, route: Route, place: AdapterPlace, adapter: ReadAdapter, name: str, dialect: Dialect
) -> Launch:
    config, facts = adapter.config, adapter.facts
    mine = [rank for rank in (config.rank if config else None, facts.max_rank if facts else None) if rank]
    largest = max((*mine, *request.beside), default=None)
    if dialect.launch == "harn-local":
        return launch(
            route, name, request.adapter, largest, dialect, source=(config.base_model if config else None) or None
        )
    gguf_only = route.runtime is not None and route.runtime.adapter_formats == ("gguf",)
    converted = gguf_only and facts is not None and facts.format != "gguf"
    return launch(
        route,
        name,
        f"{name}.gguf" if converted else _reference(place),
        largest,
        dialect,
        source=request.base_gguf if gguf_only else None,
    )


def _reference(place: AdapterPlace) -> str:
    """What a runtime loads: the file of a GGUF adapter, else the folder."""
    if place.folder is None:
        return place.path
    return place.weights[0].path if place.holds_gguf else place.folder


def _adapter_report(
    request: InspectRequest, place: AdapterPlace, adapter: ReadAdapter, name: str, declared: str | None
) -> reports.AdapterReport:
    config, facts = adapter.config or AdapterConfig(), adapter.facts
    kept = (*((place.config,) if place.config else ()), *place.weights)
    return reports.AdapterReport(
        input=request.adapter,
        name=name,
        local_path=place.path if place.exists else None,
        exists=place.exists,
        config_found=place.config is not None,
        config_path=place.config_path,
        weights_found=tuple(each.path for each in place.weights),
        peft_type=config.peft_type,
        task_type=config.task_type,
        base_model_name_or_path=declared,
        rank=config.rank if config.rank is not None or facts is None else facts.max_rank,
        lora_alpha=config.alpha if config.alpha is not None or facts is None else facts.alpha,
        target_modules=config.target_modules or (facts.targets if facts and adapter.config is None else ()),
        modules_to_save=config.modules_to_save,
        contract_id=config.contract_id,
        features=features_of(facts, adapter.config),
        files=tuple(
            reports.FileReport(name=each.name, bytes=each.bytes, sha256=adapter.digests.get(each.name)) for each in kept
        ),
    )


def _invalid(path: str, reason: str, hint: str, *, code: str) -> ReconcilerError:
    return ReconcilerError(f"{path}: {reason}", code=code, hint=hint)
