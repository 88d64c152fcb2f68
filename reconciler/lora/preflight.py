"""Whether a corpus suits its training: thresholds, counts, and every check as a finding.

Source:
    sections 5.3 and 5.4 of the specification of the origin's commands.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.lora.corpus import clipped
from reconciler.lora.dialect import Dialect
from reconciler.lora.examples import CallCounts, ExampleCounts
from reconciler.lora.findings import error

MIN_FIT_RATIO = 0.90
LONGEST = 20
"""Examples a report lists by their length."""
MOST_PROBLEMS = 100
MOST_IDS = 8
"""Records a check names."""
SOURCE_FORMATS = ("auto", "json", "text", "native")


class Thresholds(Frozen):
    """What the corpus is held to."""

    max_seq_length: int
    """Tokens."""
    min_fit_ratio: float
    hard_token_limit: int
    min_records: int
    expected_source_tool_format: str
    required_export_source_tool_format: str
    """What the target can be made of."""
    min_tool_call_share: float
    done_marker: str | None


class ToolCallStats(Frozen):
    """Calls by how they are written."""

    json_tool_calls: int
    text_tool_calls: int
    unknown_tool_blocks: int
    malformed_json_bodies: int
    structured_tool_calls: int


class PreflightStats(Frozen):
    """What was counted."""

    raw_records: int
    """Lines that are not blank."""
    trainable_records: int
    """Those with messages."""
    fit_records: int
    fit_ratio: float
    hard_overflow_records: int
    missing_done_marker_records: int
    records_with_unrecognized_tools: int
    tool_calls: ToolCallStats


class Breakdown(Frozen):
    """Records by what they say of themselves; ``(missing)`` for those that do not."""

    declared_tool_formats: dict[str, int]
    languages: dict[str, int]
    task_types: dict[str, int]


class LongExample(Frozen):
    """One of the longest records."""

    id: str
    eval_name: str
    language: str
    task_type: str
    line_number: int
    approx_tokens: int
    """An estimate: a quarter of the bytes."""
    message_count: int
    assistant_message_count: int


class ProblemExample(Frozen):
    """What is odd about one record."""

    id: str
    line_number: int
    kind: str
    """missing_done_marker · unrecognized_tools · malformed_tool_calls."""
    detail: str


@dataclass(slots=True)
class Tally:
    """Takes the examples of a corpus one by one, and keeps what the report needs."""

    thresholds: Thresholds
    trainable: int = 0
    fit: int = 0
    calls: CallCounts = field(default_factory=CallCounts)
    over_limit: list[str] = field(default_factory=list)
    without_marker: list[str] = field(default_factory=list)
    undeclared: list[str] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    problems: list[ProblemExample] = field(default_factory=list)
    _longest: list[tuple[int, int, LongExample]] = field(default_factory=list)
    _counted: Counter[str] = field(default_factory=Counter)

    def add(self, counted: ExampleCounts) -> None:
        self.trainable += 1
        self.fit += counted.approx_tokens <= self.thresholds.max_seq_length
        self.calls += counted.calls
        for counter, word in (
            (self.formats, counted.declared_tool_format),
            (self.languages, counted.language),
            (self.tasks, counted.task_type),
        ):
            counter[clipped(word) or "(missing)"] += 1
        if counted.approx_tokens > self.thresholds.hard_token_limit:
            self._note("over_limit", self.over_limit, counted)
        if counted.lacks_done_marker:
            self._note("without_marker", self.without_marker, counted)
        if counted.unrecognized_tools:
            self._note("undeclared", self.undeclared, counted)
        self.problems += list(_problems_of(counted))[: MOST_PROBLEMS - len(self.problems)]
        self._keep_if_long(counted)

    def count(self, what: str) -> int:
        """How many records are ``over_limit``, ``without_marker`` or ``undeclared``; their lists hold the first."""
        return self._counted[what]

    def _note(self, what: str, ids: list[str], counted: ExampleCounts) -> None:
        self._counted[what] += 1
        if len(ids) < MOST_IDS:
            ids.append(clipped(counted.id))

    def _keep_if_long(self, counted: ExampleCounts) -> None:
        entry = (counted.approx_tokens, -counted.line)
        if len(self._longest) == LONGEST and entry <= self._longest[0][:2]:
            return
        shown = LongExample(
            id=clipped(counted.id),
            eval_name=clipped(counted.eval_name),
            language=clipped(counted.language),
            task_type=clipped(counted.task_type),
            line_number=counted.line,
            approx_tokens=counted.approx_tokens,
            message_count=counted.message_count,
            assistant_message_count=counted.assistant_message_count,
        )
        heapq.heappush(self._longest, (*entry, shown))
        if len(self._longest) > LONGEST:
            heapq.heappop(self._longest)

    @property
    def longest(self) -> tuple[LongExample, ...]:
        """The longest first; of the same length, as they stand in the corpus."""
        return tuple(one for _, _, one in sorted(self._longest, key=lambda entry: (-entry[0], -entry[1])))

    @property
    def breakdown(self) -> Breakdown:
        return Breakdown(
            declared_tool_formats=dict(sorted(self.formats.items())),
            languages=dict(sorted(self.languages.items())),
            task_types=dict(sorted(self.tasks.items())),
        )

    def stats(self, raw_records: int) -> PreflightStats:
        return PreflightStats(
            raw_records=raw_records,
            trainable_records=self.trainable,
            fit_records=self.fit,
            fit_ratio=_ratio(self.fit, self.trainable),
            hard_overflow_records=self.count("over_limit"),
            missing_done_marker_records=self.count("without_marker"),
            records_with_unrecognized_tools=self.count("undeclared"),
            tool_calls=ToolCallStats(
                json_tool_calls=self.calls.json,
                text_tool_calls=self.calls.text,
                unknown_tool_blocks=self.calls.unknown,
                malformed_json_bodies=self.calls.malformed,
                structured_tool_calls=self.calls.structured,
            ),
        )

    def findings(self, target_format: str, dialect: Dialect) -> Iterator[Finding]:
        """Every check that fails, in the order of the origin."""
        yield from self._size_findings()
        yield from self._call_findings(target_format, dialect)
        if self.over_limit:
            yield error(
                "records_over_limit",
                f"{self.count('over_limit')} record(s) exceed {self.thresholds.hard_token_limit} tokens by estimate: "
                f"{', '.join(self.over_limit)}",
                "cut or leave out what no sequence can hold",
            )
        if self.without_marker:
            yield error(
                "done_marker_missing",
                f"{self.count('without_marker')} record(s) end without the done marker: "
                f"{', '.join(self.without_marker)}",
                "the marker is looked for in the last answer of each",
            )
        if self.calls.malformed or self.calls.unknown:
            yield error(
                "calls_malformed",
                f"{self.calls.malformed} call(s) begin as JSON and are none, {self.calls.unknown} are no call at all",
                "problem_examples names the records",
            )
        if self.undeclared:
            yield error(
                "tools_undeclared",
                f"{self.count('undeclared')} record(s) call tools that they do not declare: "
                f"{', '.join(self.undeclared)}",
                "problem_examples names the tools",
            )

    def _size_findings(self) -> Iterator[Finding]:
        wanted = self.thresholds
        if self.trainable < wanted.min_records:
            yield error(
                "too_few_records",
                f"{self.trainable} record(s) to train on; {wanted.min_records} or more are asked for",
            )
        ratio = _ratio(self.fit, self.trainable)
        if ratio < wanted.min_fit_ratio:
            yield error(
                "fit_ratio_low",
                f"{ratio:.1%} of the records fit {wanted.max_seq_length} tokens by estimate; "
                f"at least {wanted.min_fit_ratio:.1%} are asked for",
                "raise max_seq_length, or cut the longest",
            )

    def _call_findings(self, target_format: str, dialect: Dialect) -> Iterator[Finding]:
        wanted = self.thresholds
        floor = wanted.min_tool_call_share
        expected, required = wanted.expected_source_tool_format, wanted.required_export_source_tool_format
        share = _ratio(_matching(self.calls, expected), self.calls.all)
        if share < floor:
            yield error(
                "tool_call_share_low",
                f"{share:.1%} of the tool calls are {_named(expected)}; at least {floor:.1%} are asked for",
                "see --source-tool-format" if expected != "auto" else None,
            )
        ready = _ratio(_exportable(self.calls, target_format, required, dialect), self.calls.all)
        if required != expected and ready < floor:
            yield error(
                "export_ready_share_low",
                f"{ready:.1%} of the tool calls can become {target_format} ones, which are made of {_named(required)}; "
                f"at least {floor:.1%} are asked for",
                "choose another --tool-format",
            )


def _matching(calls: CallCounts, wanted: str) -> int:
    """Calls of the wanted kind; a structured call is JSON too."""
    if wanted == "auto":
        return calls.json + calls.text + calls.structured
    return {"json": calls.json + calls.structured, "text": calls.text, "native": calls.structured}.get(wanted, 0)


def _exportable(calls: CallCounts, target_format: str, required: str, dialect: Dialect) -> int:
    """Calls that an export to the target takes; ours makes native ones of text too."""
    as_text = calls.text if target_format == "native" and dialect.parses_text_calls else 0
    return _matching(calls, required) + as_text


def _named(source_format: str) -> str:
    return {"json": "JSON", "text": "text", "native": "structured", "auto": "of a known kind"}[source_format]


def _problems_of(counted: ExampleCounts) -> Iterator[ProblemExample]:
    def problem(kind: str, detail: str) -> ProblemExample:
        return ProblemExample(id=clipped(counted.id), line_number=counted.line, kind=kind, detail=detail)

    if counted.lacks_done_marker:
        yield problem("missing_done_marker", "the last answer does not hold the done marker")
    if counted.unrecognized_tools:
        yield problem("unrecognized_tools", clipped(", ".join(counted.unrecognized_tools)))
    if counted.calls.malformed or counted.calls.unknown:
        counts = f"malformed_json={counted.calls.malformed} unknown_blocks={counted.calls.unknown}"
        yield problem("malformed_tool_calls", counts)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
