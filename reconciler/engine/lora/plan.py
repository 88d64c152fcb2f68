"""``lora plan``: how to train an adapter that its base can be served with. Computed; nothing is opened or asked."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.catalog import Catalogue
from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.engine.lora.resolve import resolve_base, resolve_route
from reconciler.errors import UsageError
from reconciler.lora.contract import (
    Contract,
    TargetModules,
    ToolCatalog,
    module_names,
    target_modules_for,
    tool_catalog_of,
)
from reconciler.lora.dialect import Dialect
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
from reconciler.lora.findings import is_ok, messages, note
from reconciler.lora.launch import Launch, launch
from reconciler.lora.plan_findings import origin_findings, own_findings
from reconciler.lora.route_table import RouteTable
from reconciler.lora.routes import BaseReport, NamedBase, Route, ToolCallingReport, inferred_provider, route_of
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
    """Empty: this provider is not started with adapters, or could not serve this one."""
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


@dataclass(frozen=True, slots=True)
class _Planned:
    """What was decided, before it is written down."""

    checked: _Checked
    route: Route
    decision: ToolFormatDecision
    strategy: str
    teacher: Teacher | None
    served: Launch
    dialect: Dialect

    @property
    def tool_format(self) -> str:
        return self.decision.effective

    @property
    def template(self) -> Template:
        return template_of(self.route, self.tool_format)

    @property
    def precision(self) -> Precision:
        return precision_of(self.checked.method)

    @property
    def modules(self) -> TargetModules:
        checked = self.checked
        return target_modules_for(checked.method, is_gemma4=self.route.is_gemma4, named=checked.request.target_modules)

    @property
    def contract(self) -> Contract:
        return Contract(
            self.route.id,
            self.route.provider,
            self.tool_format,
            dataset_shape(self.tool_format).name,
            self.template.name,
            self.modules,
            self.checked.saved,
            self.checked.tools,
        )


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
        *origin_findings(route, decision, checked.strategy, strategy, teacher, dialect),
        *(own_findings(route, decision.effective, checked.saved) if dialect.own_adapter_support else ()),
        *about_teacher,
        *served.findings,
    )
    return _report(_Planned(checked, route, decision, strategy, teacher, served, dialect), findings)


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


def _report(planned: _Planned, findings: tuple[Finding, ...]) -> LoraPlan:
    route, tool_format, dialect = planned.route, planned.tool_format, planned.dialect
    data, commands = data_of(tool_format), _commands(planned)
    if not is_ok(findings) and dialect.launch != "harn-local":
        commands = commands.model_copy(update={"local_launch_command": ()})
    return LoraPlan(
        ok=is_ok(findings),
        base=BaseReport.of(route),
        request=_request(planned),
        tool_calling=ToolCallingReport.of(route),
        training=_training(planned),
        precision=planned.precision,
        template=planned.template,
        data=data,
        corpus_refresh=corpus_refresh_of(planned.strategy, planned.teacher, tool_format, data.dataset_format),
        evaluation=evaluation_of(tool_format, planned.checked.corpus, dialect),
        serving=serving_of(route, tool_format, request_model=REQUEST_MODEL, adapter_name=ADAPTER_NAME, dialect=dialect),
        launch=commands,
        warnings=messages(findings),
        contract_id=planned.contract.id,
        findings=findings,
    )


def _request(planned: _Planned) -> PlannedRequest:
    checked = planned.checked
    return PlannedRequest(
        method=checked.method,
        requested_tool_format=checked.tool_format,
        effective_tool_format=planned.tool_format,
        tool_format_correction=planned.decision.correction,
        corpus=checked.corpus,
        requested_corpus_strategy=checked.strategy,
        effective_corpus_strategy=planned.strategy,
        teacher=planned.teacher,
    )


def _training(planned: _Planned) -> Training:
    checked = planned.checked
    return training_of(
        checked.method,
        planned.tool_format,
        rank=checked.rank,
        alpha=checked.alpha,
        dropout=checked.dropout,
        modules=planned.modules,
        contract=training_contract(planned.tool_format, checked.tools, checked.saved),
    )


def _commands(planned: _Planned) -> PlanLaunch:
    checked, tool_format, program = planned.checked, planned.tool_format, planned.dialect.program
    where = ("--base", checked.request.base, "--provider", planned.route.provider)
    lane = (*where, "--tool-format", tool_format, "--corpus", checked.corpus or CORPUS)
    metadata = [word for key, value in planned.precision.metadata for word in ("--target-metadata", f"{key}={value}")]
    return PlanLaunch(
        preflight_command=(
            *program, "preflight", *lane,
            "--source-tool-format", _source_format(tool_format, planned.dialect), "--check",
        ),
        export_command=(
            *program, "export", *lane, "--out", DATASET, "--manifest", MANIFEST, "--adapter-name", ADAPTER_NAME,
            "--chat-template", planned.template.name, *metadata, *_contract_flags(checked),
        ),
        inspect_command=(*program, "inspect", *where, "--name", ADAPTER_NAME, ADAPTER),
        local_launch_command=planned.served.argv,
        request_model=REQUEST_MODEL,
        max_lora_rank=planned.served.max_rank,
    )  # fmt: skip


def _source_format(tool_format: str, dialect: Dialect) -> str:
    """What a corpus must be written in so that the export of the same plan takes it: we turn text calls into others."""
    needed = dataset_shape(tool_format).source_format
    return dialect.source_tool_format if dialect.parses_text_calls and needed != "text" else needed


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
    return ADAPTER_FILE if gguf else ADAPTER


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
        base = NamedBase(selector, selector.strip() or selector)
        if not dialect.any_base:
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
