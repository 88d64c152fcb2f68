"""``lora plan``: how to train an adapter that its base can be served with. Computed; nothing is opened or asked."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.catalog import Catalogue
from reconciler.domain.document import Frozen
from reconciler.domain.names import nearest
from reconciler.engine.lora.resolve import resolve_base, resolve_route
from reconciler.errors import UsageError
from reconciler.lora.contract import Contract, ToolCatalog, module_names, target_modules_for, tool_catalog_of
from reconciler.lora.dialect import HARN, Dialect
from reconciler.lora.evaluation import (
    REQUEST_MODEL,
    STRATEGIES,
    CorpusRefresh,
    Evaluation,
    Teacher,
    corpus_refresh_of,
    effective_strategy,
    evaluation_of,
)
from reconciler.lora.findings import Finding, error, is_ok, messages, note, warning
from reconciler.lora.launch import Launch, launch
from reconciler.lora.routes import (
    Base,
    BaseReport,
    Provider,
    Route,
    RouteTable,
    ToolCallingReport,
    inferred_provider,
    route_of,
)
from reconciler.lora.serving import Serving, serving_of
from reconciler.lora.template import DataRecipe, Template, data_of, template_of
from reconciler.lora.tool_format import TOOL_FORMATS, ToolFormatDecision, dataset_shape, decide_tool_format, word_of
from reconciler.lora.training import (
    METHODS,
    Method,
    Precision,
    Training,
    checked_alpha,
    checked_dropout,
    checked_rank,
    precision_of,
    training_contract,
    training_of,
)

ADAPTER_NAME = "ADAPTER_NAME"
ADAPTER = "ADAPTER_PATH_OR_REPO"
ADAPTER_FILE = "ADAPTER.gguf"
CORPUS = "CORPUS_JSONL_OR_DIR"
DATASET = "ADAPTER_DATASET.jsonl"
MANIFEST = "ADAPTER_DATASET.manifest.json"


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a person asked for, unread."""

    base: str
    provider: str | None = None
    tool_format: str = "auto"
    corpus: str | None = None
    teacher: str | None = None
    corpus_strategy: str = "auto"
    method: str = "qlora"
    rank: int = 16
    alpha: int | None = None
    dropout: float = 0.05
    modules_to_save: tuple[str, ...] = ()
    target_modules: tuple[str, ...] = ()
    tool_catalog_policy: str = "full_schema"
    tool_catalog_id: str | None = None
    tool_catalog_hash: str | None = None


class PlannedRequest(Frozen):
    """The ``request`` section: what was asked for, and what counts."""

    method: str
    requested_tool_format: str
    effective_tool_format: str
    tool_format_correction: str | None
    corpus: str | None
    requested_corpus_strategy: str
    effective_corpus_strategy: str
    teacher: Teacher | None


class PlanLaunch(Frozen):
    """The ``launch`` section: the command of each step, words in capitals to be replaced."""

    preflight_command: tuple[str, ...]
    export_command: tuple[str, ...]
    inspect_command: tuple[str, ...]
    local_launch_command: tuple[str, ...]
    """Empty: this provider is not started with adapters."""
    request_model: str
    max_lora_rank: int | None
    """The limit it is started with."""


class LoraPlan(Frozen):
    """The report of ``lora plan``."""

    ok: bool
    base: BaseReport
    request: PlannedRequest
    tool_calling: ToolCallingReport
    training: Training
    precision: Precision
    template: Template
    data: DataRecipe
    corpus_refresh: CorpusRefresh
    evaluation: Evaluation
    serving: Serving
    launch: PlanLaunch
    warnings: tuple[str, ...]
    contract_id: str
    """What data set, adapter and manifest of this plan carry."""
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    """A request that was read: every value is one that can be."""

    request: PlanRequest
    method: Method
    rank: int
    alpha: int
    dropout: float
    tool_format: str
    strategy: str
    tools: ToolCatalog
    saved: tuple[str, ...]
    corpus: str | None


def plan_training(request: PlanRequest, catalogue: Catalogue, table: RouteTable, dialect: Dialect) -> LoraPlan:
    """How to train an adapter for a base, and to serve it there.

    Raises:
        UsageError: a value is none that can be (``usage``), or nothing has the base's name (``unknown-model``).
    """
    checked = _checked(request)
    route = resolve_route(request.base, request.provider, catalogue, table, dialect)
    decision = decide_tool_format(checked.tool_format, route, dialect)
    teacher, about_teacher = _teacher(request.teacher, catalogue, table, dialect)
    strategy = effective_strategy(
        checked.strategy, has_teacher=teacher is not None, has_corpus=checked.corpus is not None
    )
    served = launch(
        route, ADAPTER_NAME, _reference(route), checked.rank, dialect, parser=decision.effective == "native"
    )
    findings = (
        *_findings(route, decision, checked.strategy, strategy, teacher, dialect),
        *(_own_findings(route, checked, decision.effective, table) if dialect.own_adapter_support else ()),
        *about_teacher,
        *served.findings,
    )
    return _report(checked, route, decision, strategy, teacher, served, findings, dialect)


def _checked(request: PlanRequest) -> _Checked:
    method: Method = "lora" if word_of(request.method, METHODS, "--method") == "lora" else "qlora"
    rank = checked_rank(request.rank)
    return _Checked(
        request=request,
        method=method,
        rank=rank,
        alpha=checked_alpha(request.alpha, rank),
        dropout=checked_dropout(request.dropout),
        tool_format=word_of(request.tool_format, TOOL_FORMATS, "--tool-format"),
        strategy=word_of(request.corpus_strategy, STRATEGIES, "--corpus-strategy"),
        tools=tool_catalog_of(request.tool_catalog_policy, request.tool_catalog_id, request.tool_catalog_hash),
        saved=module_names(request.modules_to_save, "--modules-to-save"),
        corpus=(request.corpus or "").strip() or None,
    )


def _report(
    checked: _Checked,
    route: Route,
    decision: ToolFormatDecision,
    strategy: str,
    teacher: Teacher | None,
    served: Launch,
    findings: tuple[Finding, ...],
    dialect: Dialect,
) -> LoraPlan:
    effective = decision.effective
    template, precision = template_of(route, effective), precision_of(checked.method)
    dataset = dataset_shape(effective).name
    modules = target_modules_for(
        checked.method, is_gemma4=route.is_gemma4 and not route.is_function_gemma, named=checked.request.target_modules
    )
    contract = training_contract(effective, checked.tools, checked.saved)
    identity = Contract(
        route.id, route.provider, effective, dataset, template.name, modules, checked.saved, checked.tools
    )
    return LoraPlan(
        ok=is_ok(findings),
        base=BaseReport.of(route),
        request=PlannedRequest(
            method=checked.method,
            requested_tool_format=checked.tool_format,
            effective_tool_format=effective,
            tool_format_correction=decision.correction,
            corpus=checked.corpus,
            requested_corpus_strategy=checked.strategy,
            effective_corpus_strategy=strategy,
            teacher=teacher,
        ),
        tool_calling=ToolCallingReport.of(route),
        training=training_of(
            checked.method,
            effective,
            rank=checked.rank,
            alpha=checked.alpha,
            dropout=checked.dropout,
            modules=modules,
            contract=contract,
        ),
        precision=precision,
        template=template,
        data=data_of(effective),
        corpus_refresh=corpus_refresh_of(strategy, teacher, effective, dataset),
        evaluation=evaluation_of(effective, checked.corpus, dialect),
        serving=serving_of(route, effective, request_model=REQUEST_MODEL, adapter_name=ADAPTER_NAME, dialect=dialect),
        launch=_commands(checked, route, effective, template, precision, served, dialect),
        warnings=messages(findings),
        contract_id=identity.id,
        findings=findings,
    )


def _commands(
    checked: _Checked,
    route: Route,
    effective: str,
    template: Template,
    precision: Precision,
    served: Launch,
    dialect: Dialect,
) -> PlanLaunch:
    where = ("--base", checked.request.base, "--provider", route.provider)
    lane = (*where, "--tool-format", effective, "--corpus", checked.corpus or CORPUS)
    metadata = [word for key, value in precision.metadata for word in ("--target-metadata", f"{key}={value}")]
    return PlanLaunch(
        preflight_command=(
            *dialect.program, "preflight", *lane,
            "--source-tool-format", dataset_shape(effective).source_format, "--check",
        ),
        export_command=(
            *dialect.program, "export", *lane, "--out", DATASET, "--manifest", MANIFEST,
            "--adapter-name", ADAPTER_NAME, "--chat-template", template.name, *metadata, *_contract_flags(checked),
        ),
        inspect_command=(*dialect.program, "inspect", *where, "--name", ADAPTER_NAME, ADAPTER),
        local_launch_command=served.argv,
        request_model=REQUEST_MODEL,
        max_lora_rank=served.max_rank,
    )  # fmt: skip


def _contract_flags(checked: _Checked) -> list[str]:
    """What an export must be told so that its contract is the plan's."""
    tools = checked.tools
    named = module_names(checked.request.target_modules, "--target-modules")
    flags = [
        ("--method", checked.method if checked.method != "qlora" else None),
        ("--target-modules", ",".join(named) or None),
        ("--modules-to-save", ",".join(checked.saved) or None),
        ("--tool-catalog-policy", tools.policy if tools != ToolCatalog() else None),
        ("--tool-catalog-id", tools.id),
        ("--tool-catalog-hash", tools.hash),
    ]
    return [word for flag, value in flags if value is not None for word in (flag, value)]


def _reference(route: Route) -> str:
    gguf = route.runtime is not None and route.runtime.adapter_formats == ("gguf",)
    return ADAPTER_FILE if gguf and route.launches_lora else ADAPTER


def _teacher(
    selector: str | None, catalogue: Catalogue, table: RouteTable, dialect: Dialect
) -> tuple[Teacher | None, tuple[Finding, ...]]:
    """The teacher, and what is to be said of it. Any name is one: teachers are often served by others."""
    if selector is None:
        return None, ()
    if not selector.strip() and not dialect.any_base:
        raise UsageError("--teacher is empty", hint="name a model, or leave the option out")
    said: tuple[Finding, ...] = ()
    try:
        base = resolve_base(selector, catalogue, table, dialect, "--teacher")
    except UsageError as unknown:
        base = Base(selector, selector.strip() or selector)
        if dialect is not HARN:
            said = (
                note("teacher_unknown", f"{unknown.message}: the teacher is recorded as it is written", unknown.hint),
            )
    route = route_of(base, None, table, dialect)
    return Teacher(
        selector=selector,
        id=route.id,
        provider=inferred_provider(base, table, dialect),
        resolved_alias=route.resolved_alias,
        tool_format=route.tool_format,
        family=route.family,
        lineage=route.lineage,
    ), said


def _findings(
    route: Route,
    decision: ToolFormatDecision,
    requested: str,
    strategy: str,
    teacher: Teacher | None,
    dialect: Dialect,
) -> list[Finding]:
    """What the origin says too, in its order."""
    found = []
    if decision.correction is not None:
        found.append(warning("tool_format_corrected", decision.correction))
    if decision.requested == "native" and decision.effective != "native":
        found.append(
            warning("native_steered", f"native calls were asked for, and the route is steered to {decision.effective}")
        )
    if decision.effective == "native" and route.capabilities.native_tools is False:
        found.append(
            warning(
                "native_unsupported",
                f"nobody lists native tool calls for {route.id} at {route.provider}",
                "try one call before anything is trained",
            )
        )
    if not route.launches_lora:
        found.append(
            warning(
                "runtime_no_lora",
                f"no flags are known that start {route.provider} with an adapter",
                next(iter(route.runtime.notes), None) if route.runtime and dialect.own_adapter_support else None,
            )
        )
    if strategy in ("refresh", "distill") and teacher is None:
        found.append(
            warning("teacher_missing", f"--corpus-strategy {strategy} needs a teacher", "name one with --teacher")
        )
    if requested == "audit-only" and teacher is not None:
        found.append(warning("teacher_idle", "the teacher is recorded and makes nothing: the strategy is audit-only"))
    return found


def _own_findings(route: Route, checked: _Checked, effective: str, table: RouteTable) -> list[Finding]:
    """What the origin does not look at."""
    found = []
    runtime = route.runtime
    if route.model is None:
        found.append(
            note("base_unknown", f"the catalogue does not know {route.id}: its family and its context are not known")
        )
    if runtime is None:
        names = [name for one in table.providers for name in (one.id, *one.aliases)]
        near = nearest(route.provider, names)
        found.append(
            warning(
                "provider_unknown",
                f"nothing is known of a provider {route.provider}",
                f"did you mean {' or '.join(near)}?" if near else None,
            )
        )
    elif route.is_inferred:
        found.append(note("provider_inferred", f"nobody said who serves it: {runtime.title} is taken", "--provider"))
    if runtime is not None and checked.saved and runtime.supports_modules_to_save is False:
        found.append(
            error(
                "modules_to_save_refused",
                f"{runtime.title} takes no adapter with modules_to_save",
                "train without them, or merge the adapter into its base",
            )
        )
    if effective == "native" and route.capabilities.native_tools is None:
        found.append(
            note(
                "native_unknown",
                f"no source says whether {route.provider} hands out native tool calls of {route.id}",
                "try one call before anything is trained",
            )
        )
    return [*found, *_format_findings(runtime)]


def _format_findings(runtime: Provider | None) -> list[Finding]:
    """What is to be done before a runtime takes what PEFT saves."""
    if runtime is None or not runtime.launches_lora or "peft" in (runtime.adapter_formats or ("peft",)):
        return []
    if runtime.adapter_formats == ("gguf",):
        return [
            note(
                "adapter_conversion",
                f"{runtime.title} takes adapters as GGUF files",
                "convert_lora_to_gguf.py of llama.cpp makes one from what PEFT saves",
            )
        ]
    return [
        warning(
            "adapter_format_differs",
            f"{runtime.title} does not take what PEFT saves",
            next(iter(runtime.notes), None),
        )
    ]
