"""``lora inspect``: is this adapter whole, does it say what it is, does it fit its base, can the provider serve it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.domain.finding import Finding
from reconciler.engine.lora.adapter_facts import ReadAdapter, read_adapter
from reconciler.engine.lora.base_facts import base_facts
from reconciler.errors import ReconcilerError, UsageError
from reconciler.lora import inspection as reports
from reconciler.lora.adapter_config import AdapterConfig
from reconciler.lora.adapter_files import AdapterPlace
from reconciler.lora.adapter_lock import LOCK_LIMIT_BYTES, AdapterLock, judge_acceptance, judge_lock, read_lock
from reconciler.lora.adapter_name import judge_name, name_of
from reconciler.lora.agreement import judge_agreement, judge_weights
from reconciler.lora.base_match import base_match, judge_base, known_names
from reconciler.lora.base_shapes import BaseFacts, ShapeFit, fit_of
from reconciler.lora.config_gaps import judge_gaps
from reconciler.lora.dialect import Dialect
from reconciler.lora.findings import error, is_ok, messages, warning
from reconciler.lora.hub_reference import HubReference, hub_reference, is_address
from reconciler.lora.launch import Launch, launch
from reconciler.lora.manifest_check import (
    MANIFEST_LIMIT_BYTES,
    AdapterAtRoute,
    ContractReport,
    check_manifest,
    read_manifest,
)
from reconciler.lora.plan_findings import provider_findings
from reconciler.lora.routes import BaseReport, Route, ToolCallingReport
from reconciler.lora.served_features import features_of, judge_init, judge_runtime
from reconciler.ports import AdapterFiles


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
    accepts: bool = False
    """What is found is to be written into a lockfile."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """One adapter as its files are, and the route that it is to be served on."""

    request: InspectRequest
    route: Route
    dialect: Dialect
    place: AdapterPlace
    adapter: ReadAdapter
    name: str
    """That requests use."""
    hub: HubReference | None = None
    """The repository it is named by."""

    @property
    def declared(self) -> str | None:
        """The base it says it was trained on."""
        config = self.adapter.config
        stated = config.base_model if config else None
        return stated if stated is not None else next(iter(self.adapter.base_names), None)


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
    base = base_facts(route, files, config=request.base_config, gguf=request.base_gguf)
    hub = None if place.exists or not dialect.own_adapter_support else hub_reference(place.path)
    name = (request.name or "").strip() or (hub.name if hub else name_of(place))
    subject = _Subject(request, route, dialect, place, adapter, name, hub)
    names = base_match(subject.declared, route, dialect, request.base_folder)
    fit = _fit(adapter, base)
    contract, contract_findings = _contract(subject, files)
    served = _launch(subject, contract)
    findings = (
        *_of_files(place, adapter),
        *(
            judge_base(names, fit, base, route, dialect, subject.declared)
            if place.exists
            else _of_nothing(place, dialect)
        ),
        *_of_runtime(subject),
        *served.findings,
        *judge_name(name, _taken(route)),
        *contract_findings,
    )
    shape = reports.ShapeReport.of(fit, base)
    report = _reported(subject, contract, reports.CompatibilityReport.of(route, names, shape, dialect), served)
    return _judged(report, (*findings, *_lock_findings(request, report, files)), is_strict=request.strict)


def _fit(adapter: ReadAdapter, base: BaseFacts | None) -> ShapeFit:
    if adapter.facts is None or base is None:
        return ShapeFit("unknown")
    replicates = bool(adapter.config and adapter.config.layer_replication)
    return fit_of(adapter.facts, base, replicates_layers=replicates)


def _reported(
    subject: _Subject, contract: ContractReport | None, compatibility: reports.CompatibilityReport, served: Launch
) -> reports.InspectReport:
    """Everything but what speaks against it."""
    facts, by_origin = subject.adapter.facts, subject.dialect.launch == "harn-local"
    return reports.InspectReport(
        ok=True,
        base=BaseReport.of(subject.route),
        adapter=_adapter_report(subject),
        contract=contract,
        compatibility=compatibility,
        tool_calling=ToolCallingReport.of(subject.route),
        launch=reports.LaunchReport(
            request_model=served.called or subject.name,
            max_lora_rank=served.max_rank,
            command=() if by_origin else served.argv,
            harn_local_launch=served.argv if by_origin else (),
        ),
        warnings=(),
        weights=reports.WeightsReport.of(facts) if facts else None,
        findings=(),
    )


def _judged(report: reports.InspectReport, findings: tuple[Finding, ...], *, is_strict: bool) -> reports.InspectReport:
    if is_strict:
        harder = (
            one.model_copy(update={"severity": "error"}) if one.severity == "warning" else one for one in findings
        )
        findings = tuple(harder)
    told = {"ok": is_ok(findings), "warnings": messages(findings), "findings": findings}
    if not is_ok(findings):  # what cannot be served is not started; the origin's command stands all the same
        told["launch"] = report.launch.model_copy(update={"command": ()})
    return report.model_copy(update=told)


def _lock_findings(request: InspectRequest, report: reports.InspectReport, files: AdapterFiles) -> tuple[Finding, ...]:
    if request.accepts:
        unread = tuple(one.name for one in report.adapter.files if one.sha256 is None)
        return judge_acceptance(report.adapter.name, report.as_locked, unread)
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


def _taken(route: Route) -> tuple[str, ...]:
    return (route.id, route.selector, *known_names(route), route.id.rpartition("/")[2])


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
        yield from judge_gaps(config, has_rank=config.rank is not None or bool(facts and facts.max_rank))
        yield from judge_init(config)


def _of_nothing(place: AdapterPlace, dialect: Dialect) -> Iterator[Finding]:
    if place.is_plain_path and not dialect.takes_paths_for_names:
        text = f"{place.path} is not there"
        yield error("adapter_not_found", text, "see that the path is right; a name that a runtime resolves is no path")
        return
    if is_address(place.path) and hub_reference(place.path) is None and not dialect.takes_paths_for_names:
        text = f"{place.path} is neither a path nor a repository of the Hub"
        yield error("adapter_not_found", text, "write ORGANISATION/NAME, with @REVISION behind it where one is meant")
        return
    yield warning(
        "remote_adapter",
        f"{place.path} is not on this machine: nothing was verified",
        "download it and inspect the folder, or see that the path is right",
    )


def _of_runtime(subject: _Subject) -> tuple[Finding, ...]:
    """The origin asks a runtime for its flags alone."""
    adapter, route = subject.adapter, subject.route
    asks = subject.dialect.own_adapter_support
    if asks and route.runtime is None:
        return tuple(provider_findings(route))
    facts, config = (adapter.facts, adapter.config) if asks else (None, None)
    told = judge_runtime(facts, config, route.runtime, route.provider, subject.request.version)
    return (*(provider_findings(route) if asks else ()), *told)


def _contract(subject: _Subject, files: AdapterFiles) -> tuple[ContractReport | None, tuple[Finding, ...]]:
    request, adapter = subject.request, subject.adapter
    if request.manifest is None:
        return None, ()
    raw = files.beginning(request.manifest, MANIFEST_LIMIT_BYTES + 1)
    try:
        document = read_manifest(raw)
    except ValueError as flaw:
        hint = "give the manifest that lora export wrote"
        raise _invalid(request.manifest, str(flaw), hint, code="manifest-invalid") from flaw
    at_route = AdapterAtRoute(
        route=subject.route,
        dialect=subject.dialect,
        name=subject.name,
        config=adapter.config,
        targets=adapter.facts.targets if adapter.facts else (),
        digests=adapter.digests,
        known_names=known_names(subject.route),
        tool_format=request.tool_format,
        requires_id=request.require_contract_id,
    )
    return check_manifest(document, request.manifest, at_route)


def _launch(subject: _Subject, contract: ContractReport | None) -> Launch:
    request, route, name, dialect = subject.request, subject.route, subject.name, subject.dialect
    config, facts = subject.adapter.config, subject.adapter.facts
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
        f"{name}.gguf" if converted else _reference(subject.place),
        largest,
        dialect,
        source=request.base_gguf if gguf_only else None,
        parser=_tool_format(subject, contract) == "native",
        hub=subject.hub,
    )


def _tool_format(subject: _Subject, contract: ContractReport | None) -> str:
    """What it will be served with: as declared, else as its contract says, else the route's default."""
    said = contract.manifest.harn_tool_format if contract else None
    return subject.request.tool_format or said or subject.route.tool_format


def _reference(place: AdapterPlace) -> str:
    """What a runtime loads: the file of a GGUF adapter, else the folder."""
    if place.folder is None:
        return place.path
    return place.weights[0].path if place.holds_gguf else place.folder


def _adapter_report(subject: _Subject) -> reports.AdapterReport:
    place, adapter = subject.place, subject.adapter
    config, facts = adapter.config or AdapterConfig(), adapter.facts
    kept = (*((place.config,) if place.config else ()), *place.weights)
    return reports.AdapterReport(
        input=subject.request.adapter,
        name=subject.name,
        local_path=place.path if place.exists else None,
        exists=place.exists,
        config_found=place.config is not None,
        config_path=place.config_path,
        weights_found=tuple(each.path for each in place.weights),
        peft_type=config.peft_type,
        task_type=config.task_type,
        base_model_name_or_path=subject.declared,
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
