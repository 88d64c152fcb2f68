"""``lora export``: a corpus as a training set with its manifest, both or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.engine.lora.splitting import note_others
from reconciler.errors import UsageError
from reconciler.lora.adapter_name import judge_name
from reconciler.lora.contract import Contract, module_names, target_modules_for, tool_catalog_of
from reconciler.lora.conversation import Unconvertible
from reconciler.lora.corpus import BadRow, Example, NoMessages, read_row
from reconciler.lora.dataset import Converted, ExportTarget, row_text, rows_of
from reconciler.lora.dialect import Dialect
from reconciler.lora.evaluation import Evaluation
from reconciler.lora.findings import error, is_ok, messages, warning
from reconciler.lora.manifest import (
    ContractDocument,
    ExportStats,
    FileDocument,
    Manifest,
    Provenance,
    ServingDocument,
    promotion_of,
    verified_manifest,
)
from reconciler.lora.plan_findings import provider_findings
from reconciler.lora.routes import BaseReport, Route, ToolCallingReport
from reconciler.lora.splits import SplitLedger
from reconciler.lora.tool_format import TOOL_FORMATS, ToolFormatDecision, dataset_shape, decide_tool_format, word_of
from reconciler.lora.training import METHODS
from reconciler.ports import CorpusFile, CorpusFiles, ExportDrafts

MOST_ERRORS = 100
"""How many records a report names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What a person asked for, unread."""

    corpus: str
    tool_format: str = "auto"
    out: str | None = None
    manifest: str | None = None
    check: bool = False
    adapter_name: str | None = None
    chat_template: str | None = None
    target_metadata: tuple[str, ...] = ()
    default_split: str = "train"
    default_license: str = "unknown"
    method: str = "qlora"
    modules_to_save: tuple[str, ...] = ()
    target_modules: tuple[str, ...] = ()
    tool_catalog_policy: str = "full_schema"
    tool_catalog_id: str | None = None
    tool_catalog_hash: str | None = None
    against: tuple[str, ...] = ()
    """Corpora that the data set must have nothing in common with."""


class ExportAsked(Frozen):
    """The ``request`` section of the report."""

    requested_tool_format: str
    effective_tool_format: str
    tool_format_correction: str | None
    dataset_format: str
    tool_catalog_policy: str
    tool_catalog_id: str | None
    tool_catalog_hash: str | None
    corpus: str
    check: bool
    default_split: str
    default_license: str

    @classmethod
    def of(cls, request: ExportRequest, corpus: CorpusFile, decision: ToolFormatDecision, target: ExportTarget) -> Self:
        catalog = target.contract.tool_catalog
        return cls(
            requested_tool_format=decision.requested,
            effective_tool_format=decision.effective,
            tool_format_correction=decision.correction,
            dataset_format=target.shape.name,
            tool_catalog_policy=catalog.policy,
            tool_catalog_id=catalog.id,
            tool_catalog_hash=catalog.hash,
            corpus=shown(corpus.path),
            check=request.check,
            default_split=target.default_split,
            default_license=target.default_license,
        )


class ExportOutput(Frozen):
    """What was written. None: it was not."""

    path: str | None = None
    sha256: str | None = None
    manifest_path: str | None = None

    @classmethod
    def of(cls, request: ExportRequest, written: Manifest) -> Self:
        return cls(
            path=written.output.path if written.output else None,
            sha256=written.output.sha256 if written.output else None,
            manifest_path=shown(request.manifest) if request.manifest else None,
        )


class ExportReport(Frozen):
    """What became of a corpus."""

    ok: bool
    base: BaseReport
    request: ExportAsked
    tool_calling: ToolCallingReport
    target: dict[str, Any]
    contract: ContractDocument
    serving: ServingDocument
    promotion: Evaluation
    output: ExportOutput
    stats: ExportStats
    splits: dict[str, int]
    """Examples by split."""
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    """One for each record that could not be converted, the first 100; then what is wrong with the whole."""
    error_count: int


@dataclass(slots=True)
class _Pass:
    """One pass over a corpus: counts, and what went wrong."""

    target: ExportTarget
    ledger: SplitLedger = field(default_factory=SplitLedger)
    records: int = 0
    emitted: int = 0
    skipped: int = 0
    calls: int = 0
    results: int = 0
    failed: int = 0
    errors: list[Finding] = field(default_factory=list)

    def run(self, corpus: CorpusFile, drafts: ExportDrafts) -> None:
        for line in corpus.lines():
            row = read_row(line, every_message=self.target.dialect.refuses_odd_messages)
            if row is None:
                continue
            self.records += 1
            failed, converted = self.failed, self._converted(row)
            self.skipped += not converted.rows and self.failed == failed
            self.emitted += len(converted.rows)
            self.calls += converted.tool_calls
            self.results += converted.tool_results
            for each in converted.rows if not self.failed else ():  # after a failure nothing is kept anyway
                drafts.add(row_text(each))

    def _converted(self, row: Example | BadRow | NoMessages) -> Converted:
        if isinstance(row, BadRow):
            self._fail(row)
        elif isinstance(row, Example):
            try:
                converted = rows_of(row, self.target)
            except Unconvertible as fault:
                self._fail(BadRow(row.line, fault.code, str(fault), row.id))
            else:
                if converted.rows:
                    self.ledger.add(row, row.first("split") or self.target.default_split)
                return converted
        return Converted((), 0, 0)

    def _fail(self, row: BadRow) -> None:
        self.failed += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(error(row.code, row.text))

    @property
    def stats(self) -> ExportStats:
        return ExportStats(
            records=self.records,
            emitted=self.emitted,
            skipped=self.skipped,
            tool_calls=self.calls,
            tool_results=self.results,
        )


def export(request: ExportRequest, route: Route, dialect: Dialect, files: CorpusFiles) -> ExportReport:
    """Convert a corpus, and write the rows with their manifest when every record could be converted.

    The contract's id is computed again from the manifest as it was written, and the hash of the rows from the rows as
    they lie on the disk, before either gets its name.

    Raises:
        UsageError: a flag or a path that cannot be used. OutsideError: reading or writing failed; nothing is left.
    """
    if request.out is None and not request.check:
        raise UsageError("there is no place for the data set", hint="give --out FILE, or --check to write none")
    decision = decide_tool_format(word_of(request.tool_format, TOOL_FORMATS, "--tool-format"), route, dialect)
    target = export_target(request, decision, route, dialect)
    corpus = files.corpus(request.corpus)
    others = [files.corpus(named) for named in request.against]
    out = None if request.check else request.out
    with files.drafts(out, request.manifest, apart_from=(corpus, *others)) as drafts:
        done = _Pass(target)
        done.run(corpus, drafts)
        unread = tuple(note_others(done.ledger, others))
        findings = [*done.errors, *_name_findings(target, route), *_findings_of(request, decision, done), *unread]
        findings += provider_findings(route) if dialect.own_adapter_support else ()
        manifest = _manifest(request, target, route, corpus, others, done, drafts.dataset_sha256())
        if is_ok(findings):
            findings += _kept(manifest, drafts)
    return _report(request, decision, target, route, corpus, manifest, done, findings)


def _kept(manifest: Manifest, drafts: ExportDrafts) -> Iterable[Finding]:
    found = verified_manifest(drafts.put_manifest(manifest.text))
    if found.verdict != "verified" or found.computed != manifest.contract.id:
        return [error("contract_unverified", f"the contract's id is not that of its fields: {found.reason}")]
    drafts.keep()
    return []


def export_target(request: ExportRequest, decision: ToolFormatDecision, route: Route, dialect: Dialect) -> ExportTarget:
    """What the rows are written for.

    Raises:
        UsageError: a flag that cannot be used.
    """
    method = word_of(request.method, METHODS, "--method")
    shape = dataset_shape(decision.effective)
    contract = Contract(
        base_model=route.id,
        provider=route.provider,
        harn_tool_format=decision.effective,
        dataset_format=shape.name,
        chat_template=_written(request.chat_template, "--chat-template"),
        target_modules=target_modules_for(
            method, is_gemma4=route.is_gemma4 and not route.is_function_gemma, named=request.target_modules
        ),
        modules_to_save=module_names(request.modules_to_save, "--modules-to-save"),
        tool_catalog=tool_catalog_of(request.tool_catalog_policy, request.tool_catalog_id, request.tool_catalog_hash),
    )
    return ExportTarget(
        contract=contract,
        shape=shape,
        dialect=dialect,
        adapter_name=_written(request.adapter_name, "--adapter-name"),
        metadata=target_metadata(request.target_metadata),
        default_split=request.default_split.strip() or "train",
        default_license=request.default_license.strip() or "unknown",
    )


def target_metadata(pairs: Iterable[str]) -> Mapping[str, str]:
    """``KEY=VALUE`` pairs; the last of a key counts, and values stay as they are.

    Raises:
        UsageError: one has no ``=``, or nothing before it.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"--target-metadata is {pair!r}", hint="write KEY=VALUE")
        found[key.strip()] = _written(value, "--target-metadata") or ""
    return found


def _written(text: str | None, flag: str) -> str | None:
    """The text, as long as a file can hold it."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise UsageError(f"{flag} holds bytes that are no text") from None
    return text


def shown(path: str) -> str:
    """A path as text, also where its bytes are none."""
    return path.encode("utf-8", "replace").decode()


def _findings_of(request: ExportRequest, decision: ToolFormatDecision, done: _Pass) -> Iterable[Finding]:
    if decision.correction:
        yield warning("tool_format_corrected", decision.correction)
    if request.check:
        so_far = "" if done.failed else "every record was converted, and "
        yield warning("check_only", f"checked only: {so_far}no row was written")
    if done.failed:
        more = f", the first {MOST_ERRORS} are named" if done.failed > MOST_ERRORS else ""
        hint = "mend or remove them; nothing is written before"
        yield warning("records_failed", f"{done.failed} record(s) could not be converted{more}", hint)
    elif done.skipped:
        yield warning("records_skipped", f"{done.skipped} record(s) held nothing to learn a call from")
    if not done.emitted:
        yield error("nothing_to_export", "no record gave a row", "see that --corpus and --tool-format fit each other")
    yield from done.ledger.findings()


def _name_findings(target: ExportTarget, route: Route) -> Iterable[Finding]:
    """Whether requests can call the adapter what it is to be called."""
    if target.adapter_name is None:
        return
    for found in judge_name(target.adapter_name, (route.id, route.selector.strip())):
        yield found.model_copy(update={"hint": "give another with --adapter-name"})


def _manifest(
    request: ExportRequest,
    target: ExportTarget,
    route: Route,
    corpus: CorpusFile,
    others: Iterable[CorpusFile],
    done: _Pass,
    sha256: str | None,
) -> Manifest:
    contract = ContractDocument.of(target)
    output = FileDocument(path=shown(request.out or ""), sha256=sha256) if sha256 is not None else None
    return Manifest(
        exporter=target.dialect.exporter,
        dataset_format=target.shape.name,
        input=FileDocument(path=shown(corpus.path), sha256=corpus.sha256),
        output=output,
        stats=done.stats,
        target=target.document,
        contract=contract,
        provenance=Provenance(
            required_example_metadata=contract.training_contract.required_example_metadata,
            default_split=target.default_split,
            default_license=target.default_license,
            splits=done.ledger.sizes,
            disjoint_from=tuple(FileDocument(path=shown(each.path), sha256=each.sha256) for each in others),
        ),
        serving=ServingDocument.of(target, route),
        promotion=promotion_of(target, shown(corpus.path)),
        errors=(),
    )


def _report(
    request: ExportRequest,
    decision: ToolFormatDecision,
    target: ExportTarget,
    route: Route,
    corpus: CorpusFile,
    manifest: Manifest,
    done: _Pass,
    findings: list[Finding],
) -> ExportReport:
    ok = is_ok(findings)
    return ExportReport(
        ok=ok,
        base=BaseReport.of(route),
        request=ExportAsked.of(request, corpus, decision, target),
        tool_calling=ToolCallingReport.of(route),
        target=target.document,
        contract=manifest.contract,
        serving=manifest.serving,
        promotion=manifest.promotion,
        output=ExportOutput.of(request, manifest) if ok else ExportOutput(),
        stats=done.stats,
        splits=done.ledger.sizes,
        findings=tuple(findings),
        warnings=messages(findings, "warning"),
        errors=messages(findings, "error"),
        error_count=done.failed + sum(one.severity == "error" for one in findings) - len(done.errors),
    )
