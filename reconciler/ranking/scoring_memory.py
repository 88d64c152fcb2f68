"""How well the memory estimates hold on measured points: what a device showed beside what the ranking says it would.

A submitted peak is usually all the memory in use on the device, other programs' included, read from a tool that prints
MiB: its GB is taken as 2³⁰ bytes (where somebody meant 10⁹, the row reads 7 % too high). A device never shows more than
it has, so neither does the estimate of what it shows: a model that does not fit fills the device, and the rest of it
lies elsewhere.

Where a point does not say which context was allocated, it is what the engine allocates when nobody tells it otherwise
(``allocated``). vLLM fills the share of the device that it is given, whatever the model needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.domain.advice import ollama_default_context
from reconciler.domain.catalog import Catalogue
from reconciler.domain.units import GIB
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.measured import Subject, subjects
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.scoring import Accuracy, Groups, ScoredRow

LONG_CONTEXT = 32_768
"""Tokens; above it the cache, not the weights, decides who estimates well."""
SERVER_CONTEXT = 4096
"""Tokens of an engine that allocates at its start, where neither the allocation nor a request is known."""
VLLM_SHARE = 0.9
"""Of the device's memory, taken at the start for weights and cache. Source: ``gpu_memory_utilization`` of vLLM."""
_LLAMA_BENCH = 2
"""``tps_def`` of a rate by llama-bench, which allocates what its test needs."""


@dataclass(frozen=True, slots=True)
class MemoryInterval:
    """What a device shows, around the estimate: from ``lower`` × it to ``upper`` × it and what other programs hold."""

    lower: float = 0.88
    upper: float = 1.10
    other_gib: float = 2.3
    """GiB that other programs hold on a device: a desktop, a browser, a second runtime."""

    def around(self, shown: float, device: float) -> tuple[float, float]:
        """(low, high) in GiB around an estimate, never above what the device has.

        Args:
            shown: estimate in GiB.
            device: GiB it has; infinite where nobody says.
        """
        return shown * self.lower, max(shown, min(device, shown * self.upper + self.other_gib))


INTERVAL = MemoryInterval()
"""From the residuals of the measured points: a tenth of them lies above, a little less than a tenth below. How it
covers devices that it was not derived from stands in docs/estimates.md."""


MEMORY_GROUPS: Groups = (
    ("all", lambda _: True),
    ("over_32k", lambda point: (point.ctx_alloc or 0) > LONG_CONTEXT),
)


ContextBasis = Literal["stated", "submitted", "ollama", "run", "usual", "vllm"]
"""Where the allocated context comes from: the point · the one that was asked for · Ollama's default by the device's
memory · the tokens of the run, for programs whose cache grows with it · ``SERVER_CONTEXT`` · no matter, vLLM fills its
share."""


def is_counted_for_memory(point: MeasuredPoint) -> bool:
    """Whether a point counts for memory: its peak is known, on its device alone, of known bandwidth as for speed. Every
    engine counts, suspect rows too, and rows that do not say what was allocated.
    """
    return point.peak_mem_gb is not None and point.bw_gbps is not None and not point.likely_spill


def allocated(subject: Subject) -> tuple[int, ContextBasis]:
    """Tokens of cache, at least those of the run, and what that rests on."""
    point = subject.point
    if point.ctx_alloc:
        return point.ctx_alloc, "stated"
    run = subject.requirement.context
    if subject.runner == "vllm":
        return max(run, point.context or 0), "vllm"
    if subject.runner == "mlx" or point.tps_def == _LLAMA_BENCH:
        return run, "run"
    if subject.runner == "ollama":
        own = subject.model.context_length or subject.requirement.context
        return max(run, min(own, ollama_default_context(subject.hardware.vram_bytes))), "ollama"
    return (max(run, point.context), "submitted") if point.context else (max(run, SERVER_CONTEXT), "usual")


def score_memory(points: Iterable[MeasuredPoint], catalogue: Catalogue) -> Accuracy:
    """The ranking's own memory estimates against what devices showed, over every counted point, in GiB.

    Args:
        points: any; those that do not count are passed over.
        catalogue: where the models' dimensions and the sizes of their files come from.
    """
    counted = [subject for subject in subjects(points, catalogue) if is_counted_for_memory(subject.point)]
    return Accuracy.of([(subject.point, scored_memory(subject)) for subject in counted], MEMORY_GROUPS)


def scored_memory(subject: Subject, interval: MemoryInterval = INTERVAL) -> ScoredRow:
    """One subject with its estimate, in GiB. Its peak must be known."""
    point = subject.point
    device = device_gib(point)
    shown = min(needed_gib(subject), device)
    low, high = interval.around(shown, device)
    return ScoredRow(point.id, shown, low, high, point.peak_mem_gb or float("nan"))


def needed_gib(subject: Subject) -> float:
    """What the subject takes, by the ranking, on a device that is large enough."""
    requirement = replace(subject.requirement, context=allocated(subject)[0])
    needed = estimate_memory(subject.model, subject.build, requirement, subject.hardware).total_bytes / GIB
    known = subject.point.mem_gb if subject.runner == "vllm" else None
    return max(needed, VLLM_SHARE * known) if known else needed


def device_gib(point: MeasuredPoint) -> float:
    """What the device of a point has, in GiB; infinite where the point does not say."""
    return point.mem_gb or float("inf")
