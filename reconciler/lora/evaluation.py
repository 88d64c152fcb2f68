"""How an adapter shows that it is better than its base, and where the examples come from."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.document import Frozen
from reconciler.lora.dialect import Dialect

Strategy = Literal["audit-only", "refresh", "distill"]
STRATEGIES = ("auto", "audit-only", "refresh", "distill")
EVAL_DATASET = "conformance/tool-call-eval"
"""The origin's own cases."""
REQUEST_MODEL = "ADAPTER_MODEL"
"""Stands for the name that requests pick the adapter by."""
PROVENANCE = (
    "source_record_id", "source_transcript_id", "teacher_model", "teacher_provider", "target_base_model",
    "target_tool_format", "tool_schema_hash", "prompt_template_hash", "split", "license",
)  # fmt: skip


class Teacher(Frozen):
    """A model that repairs or makes examples."""

    selector: str
    id: str
    provider: str | None
    """None: nothing says who serves it."""
    resolved_alias: str | None
    tool_format: str
    family: str | None
    lineage: str | None


class CorpusRefresh(Frozen):
    """The ``corpus_refresh`` section of a plan."""

    strategy: str
    teacher_required: bool
    teacher: Teacher | None
    generation_notes: tuple[str, ...]
    provenance_manifest_fields: tuple[str, ...]
    hard_negative_slices: tuple[str, ...]
    acceptance_gates: tuple[str, ...]


class Evaluation(Frozen):
    """The ``evaluation`` section of a plan; a manifest has it as ``promotion``."""

    holdout_policy: str
    minimum_trials: int
    comparison_baseline: str
    required_metrics: tuple[str, ...]
    gates: tuple[str, ...]
    eval_command: tuple[str, ...]


def effective_strategy(requested: str, *, has_teacher: bool, has_corpus: bool) -> str:
    """What ``auto`` means: a teacher repairs a corpus that is there, and makes one that is not.

    >>> effective_strategy("auto", has_teacher=True, has_corpus=False)
    'distill'
    """
    if requested != "auto":
        return requested
    if not has_teacher:
        return "audit-only"
    return "refresh" if has_corpus else "distill"


_STRATEGY_NOTES = {
    "refresh": (
        "the teacher repairs or extends what is there; examples that did not change keep their ids",
        "new examples are for train and tune only, until a review of the holdout takes them further",
    ),
    "distill": (
        "the teacher makes tasks, calls and results from schemas that are frozen first",
        "single-turn and multi-turn cases are sampled apart",
    ),
    "audit-only": (
        "the corpus is audited, and nothing synthetic is made",
        "parser and schemas are mended first: near-copies of an example teach nothing new",
    ),
}


def corpus_refresh_of(strategy: str, teacher: Teacher | None, tool_format: str, dataset_format: str) -> CorpusRefresh:
    """Where examples come from, what each of them records, and what it must pass."""
    notes = [
        *_STRATEGY_NOTES[strategy],
        f"calls are rendered as {tool_format}",
        f"rows are stored as {dataset_format}",
    ]
    if teacher is not None:
        by = f" of {teacher.provider}" if teacher.provider else ""
        notes.append(f"every row that was made or repaired records its teacher, {teacher.id}{by}")
    return CorpusRefresh(
        strategy=strategy,
        teacher_required=strategy in ("refresh", "distill"),
        teacher=teacher,
        generation_notes=tuple(notes),
        provenance_manifest_fields=PROVENANCE,
        hard_negative_slices=(
            "the wrong tool, where schemas look alike",
            "a malformed call repaired, and no unsafe argument executed",
            "permission denied, or nothing may be written",
            "going on from results that are partial or empty",
            "several turns that correct what is stale or contradicts itself",
        ),
        acceptance_gates=(
            "the target's parser takes every target",
            "names and arguments validate against the frozen schemas",
            "no two rows have the same tool, arguments and kind of outcome, once normalised",
            "no split shares a row with the holdout of the evaluation",
            "base and adapter first run the very same cases",
        ),
    )


def evaluation_of(tool_format: str, dataset: str | None, dialect: Dialect) -> Evaluation:
    """What an adapter must show before it is promoted.

    Args:
        tool_format: the effective one.
        dataset: what the origin's evaluation runs on; None: its own cases.
        dialect: whether there is a command to name.
    """
    text = tool_format in ("text", "json")
    command = (
        "harn", "eval", "tool-calls", "--planner", REQUEST_MODEL, "--tool-format", tool_format,
        "--dataset", dataset or EVAL_DATASET,
    )  # fmt: skip
    return Evaluation(
        holdout_policy="train, tune and holdout share nothing, and no case of an evaluation is trained on",
        minimum_trials=5,
        comparison_baseline="the base without its adapter: same provider, tool format, prompt template and schemas",
        required_metrics=(
            "share of calls with exactly the right name and arguments",
            "share of calls that the text parser takes" if text else "share of calls that the native schema takes",
            "share of answers that are malformed or only prose",
            "calls of a tool where another one, or none, was right",
            "latency and cost of a solved case",
        ),
        gates=(
            "base and adapter run the same cases",
            "a pair by pair gain above zero; an unclear one leaves the adapter experimental",
            "one contract id in manifest, adapter and served route",
            "chat without tools is no worse",
        ),
        eval_command=command if dialect.eval_command else (),
    )
