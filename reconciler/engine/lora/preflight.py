"""``lora preflight``: whether a corpus suits its training, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite
from typing import Self

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.domain.units import Bytes
from reconciler.engine.lora.export import MOST_ERRORS, shown
from reconciler.engine.lora.splitting import note_others
from reconciler.errors import UsageError
from reconciler.lora.behaviour import POLICIES, BehaviourReport, BehaviourTally
from reconciler.lora.corpus import BadRow, Example, NoMessages, clipped, read_row
from reconciler.lora.dialect import Dialect
from reconciler.lora.examples import examined
from reconciler.lora.findings import error, is_ok, messages, warning
from reconciler.lora.plan_findings import provider_findings
from reconciler.lora.preflight import (
    MIN_FIT_RATIO,
    SOURCE_FORMATS,
    Breakdown,
    LongExample,
    PreflightStats,
    ProblemExample,
    Tally,
    Thresholds,
)
from reconciler.lora.routes import BaseReport, Route, ToolCallingReport
from reconciler.lora.splits import SplitLedger
from reconciler.lora.tool_format import TOOL_FORMATS, ToolFormatDecision, dataset_shape, decide_tool_format, word_of
from reconciler.lora.training_config import MOST_BYTES, TrainingConfig, read_training_config
from reconciler.ports import CorpusFile, CorpusFiles


@dataclass(frozen=True, slots=True)
class PreflightRequest:
    """What a person asked for, unread."""

    corpus: str
    tool_format: str = "auto"
    config: str | None = None
    max_seq_length: int | None = None
    min_fit_ratio: float | None = None
    hard_token_limit: int = 32768
    min_records: int = 1
    source_tool_format: str | None = None
    min_tool_call_share: float = 0.95
    done_marker: str | None = None
    check: bool = False
    default_split: str = "train"
    against: tuple[str, ...] = ()
    behavior_strata_policy: str = "off"


class PreflightAsked(Frozen):
    """The ``request`` section of the report."""

    corpus: str
    config: str | None
    check: bool
    requested_tool_format: str
    source_tool_format: str
    tool_format_correction: str | None
    target_tool_format: str

    @classmethod
    def of(cls, request: PreflightRequest, corpus: CorpusFile, source: str, decision: ToolFormatDecision) -> Self:
        return cls(
            corpus=shown(corpus.path),
            config=shown(request.config) if request.config else None,
            check=request.check,
            requested_tool_format=decision.requested,
            source_tool_format=source,
            tool_format_correction=decision.correction,
            target_tool_format=decision.effective,
        )


class ConfigReport(Frozen):
    """What the training configuration says. None: nothing."""

    path: str | None
    max_seq_length: int | None
    min_fit_ratio: float | None


class PreflightReport(Frozen):
    """What is to be said of a corpus."""

    ok: bool
    base: BaseReport
    request: PreflightAsked
    tool_calling: ToolCallingReport
    config: ConfigReport
    thresholds: Thresholds
    stats: PreflightStats
    splits: dict[str, int]
    """Examples by split."""
    behavior_strata: BehaviourReport | None
    """None: nobody asked for it."""
    breakdown: Breakdown
    longest: tuple[LongExample, ...]
    problem_examples: tuple[ProblemExample, ...]
    """The first 100."""
    skipped_records: tuple[str, ...]
    """The first 100."""
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(slots=True)
class _Scan:
    """One pass over a corpus."""

    tally: Tally
    behaviour: BehaviourTally
    ledger: SplitLedger = field(default_factory=SplitLedger)
    raw: int = 0
    failed: int = 0
    empty: int = 0
    errors: list[Finding] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def run(self, corpus: CorpusFile, request: PreflightRequest, dialect: Dialect) -> None:
        for line in corpus.lines():
            row = read_row(line, every_message=dialect.refuses_odd_messages)
            self.raw += row is not None
            if isinstance(row, BadRow):
                self._fail(error(row.code, row.text))
            elif isinstance(row, NoMessages):
                self.empty += 1
                if len(self.skipped) < MOST_ERRORS:
                    self.skipped.append(f"{clipped(row.id)} (line {row.line}, no messages)")
            elif isinstance(row, Example) and dialect.takes_plain_chat and not row.has_answer:
                self.empty += 1
                if len(self.skipped) < MOST_ERRORS:
                    self.skipped.append(f"{clipped(row.id)} (line {row.line}, no answer)")
            elif isinstance(row, Example):
                self.tally.add(examined(row, dialect, request.done_marker))
                self.ledger.add(row, row.first("split") or request.default_split.strip() or "train")
                if (wrong := self.behaviour.add(row)) is not None:
                    self._fail(wrong)

    def _fail(self, finding: Finding) -> None:
        self.failed += 1
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(finding)


def preflight(request: PreflightRequest, route: Route, dialect: Dialect, files: CorpusFiles) -> PreflightReport:
    """Hold a corpus against what its training needs. Changes nothing.

    Raises:
        UsageError: a flag, a path or the configuration cannot be used. OutsideError: the corpus cannot be read.
    """
    source = word_of(request.source_tool_format or dialect.source_tool_format, SOURCE_FORMATS, "--source-tool-format")
    decision = decide_tool_format(word_of(request.tool_format, TOOL_FORMATS, "--tool-format"), route, dialect)
    config = _config(request, dialect, files)
    thresholds = thresholds_of(request, config, source, dataset_shape(decision.effective).source_format)
    corpus = files.corpus(request.corpus)
    others = [files.corpus(named) for named in request.against]
    policy = word_of(request.behavior_strata_policy, POLICIES, "--behavior-strata-policy")
    scan = _Scan(Tally(thresholds), BehaviourTally(policy))
    scan.run(corpus, request, dialect)
    unread = tuple(note_others(scan.ledger, others))
    findings = (
        *scan.errors,
        *(_nothing() if not scan.raw and not dialect.judges_an_empty_corpus else ()),
        *(scan.tally.findings(decision.effective, dialect) if scan.raw or dialect.judges_an_empty_corpus else ()),
        *scan.behaviour.findings(),
        *scan.ledger.findings(),
        *unread,
        *(provider_findings(route) if dialect.own_adapter_support else ()),
        *_warnings(request, config, decision, scan),
    )
    return PreflightReport(
        ok=is_ok(findings),
        base=BaseReport.of(route),
        request=PreflightAsked.of(request, corpus, source, decision),
        tool_calling=ToolCallingReport.of(route),
        config=ConfigReport(
            path=shown(request.config) if request.config else None,
            max_seq_length=config.max_seq_length,
            min_fit_ratio=config.min_fit_ratio,
        ),
        thresholds=thresholds,
        stats=scan.tally.stats(scan.raw),
        splits=scan.ledger.sizes,
        behavior_strata=scan.behaviour.report,
        breakdown=scan.tally.breakdown,
        longest=scan.tally.longest,
        problem_examples=tuple(scan.tally.problems),
        skipped_records=tuple(scan.skipped),
        findings=findings,
        warnings=messages(findings, "warning"),
        errors=messages(findings, "error"),
    )


def _nothing() -> Iterator[Finding]:
    yield error("corpus_empty", "the corpus is empty: it holds no record", "see that it is the right file")


def thresholds_of(request: PreflightRequest, config: TrainingConfig, source: str, required: str) -> Thresholds:
    """A flag goes before the configuration, that before the default.

    Raises:
        UsageError: a flag is out of its range.
    """
    hard = _above_zero(request.hard_token_limit, "--hard-token-limit")
    length = request.max_seq_length
    flag = None if length is None else _above_zero(length, "--max-seq-length")
    ratio = None if request.min_fit_ratio is None else _share(request.min_fit_ratio, "--min-fit-ratio")
    if request.min_records < 0:
        raise UsageError(f"--min-records is {request.min_records}", hint="write 0 or more")
    return Thresholds(
        max_seq_length=flag or config.max_seq_length or hard,
        min_fit_ratio=next(one for one in (ratio, config.min_fit_ratio, MIN_FIT_RATIO) if one is not None),
        hard_token_limit=hard,
        min_records=request.min_records,
        expected_source_tool_format=source,
        required_export_source_tool_format=required,
        min_tool_call_share=_share(request.min_tool_call_share, "--min-tool-call-share"),
        done_marker=request.done_marker,
    )


def _above_zero(number: int, flag: str) -> int:
    if number <= 0:
        raise UsageError(f"{flag} is {number}", hint="write a number of tokens above 0")
    return number


def _share(number: float, flag: str) -> float:
    if not isfinite(number) or not 0 <= number <= 1:
        raise UsageError(f"{flag} is {number:g}", hint="write a share from 0 to 1, such as 0.9")
    return number


def _config(request: PreflightRequest, dialect: Dialect, files: CorpusFiles) -> TrainingConfig:
    if request.config is None:
        return TrainingConfig()
    return read_training_config(files.text(request.config, limit=Bytes(MOST_BYTES)), shown(request.config), dialect)


def _warnings(
    request: PreflightRequest, config: TrainingConfig, decision: ToolFormatDecision, scan: _Scan
) -> Iterator[Finding]:
    if config.max_seq_length is None and request.max_seq_length is None:
        limit = request.hard_token_limit
        told = f"nothing says how long a sequence may be: --hard-token-limit ({limit}) is taken for it"
        yield warning("length_assumed", told, "give --max-seq-length, or --config FILE")
    if scan.empty:
        yield warning(
            "records_skipped", f"{scan.empty} record(s) without messages, or without an answer, were left out"
        )
    if scan.failed > len(scan.errors):
        yield warning("errors_cut", f"{scan.failed} record(s) are wrong; the first {len(scan.errors)} are named")
    if request.check:
        yield warning("check_gates", "check: the exit code says whether the corpus is ready")
    if decision.correction:
        yield warning("tool_format_corrected", decision.correction)
