"""The memory parts of ``docs/estimates.md``: the cache by architecture, peaks on measured points, and the interval."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from estimates_figures import FEW, PEERS, error, percent

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.units import GIB, KIB
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.kv_cache import kv_bytes
from reconciler.ranking.measured import Subject, runner_of, subjects
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.scoring import Accuracy, Groups, ScoredRow
from reconciler.ranking.scoring_memory import (
    INTERVAL,
    LONG_CONTEXT,
    MEMORY_GROUPS,
    SERVER_CONTEXT,
    VLLM_SHARE,
    ContextBasis,
    MemoryInterval,
    allocated,
    device_gib,
    is_counted_for_memory,
    needed_gib,
    scored_memory,
)

SHORT = 4096
LONG = 131_072
GOLDEN = (
    ("meta-llama/Llama-3.1-8B-Instruct", SHORT, 128.0),
    ("Qwen/Qwen3-8B", SHORT, 144.0),
    ("Qwen/Qwen2.5-7B-Instruct", SHORT, 56.0),
    ("Qwen/Qwen3-32B", SHORT, 256.0),
    ("meta-llama/Llama-3.1-70B-Instruct", SHORT, 320.0),
    ("Qwen/Qwen3-30B-A3B", SHORT, 96.0),
    ("Qwen/Qwen3.6-27B", SHORT, 64.0),
    ("deepseek-ai/DeepSeek-V3", SHORT, 68.625),
    ("google/gemma-3-27b-it", LONG, 10.4 * 1024**2 / LONG),
)
"""Model, context, and KiB per token by its published dimensions: 2 × layers × heads × head size × 2 bytes, the 16 full
layers of 64, the latent row of 576 values × 61 layers, 10 of 62 layers beyond a window of 1,024."""
NOTES = {"Qwen/Qwen3.6-27B": ", 16 full layers of 64", "deepseek-ai/DeepSeek-V3": ", latent attention"}
GROUPS: Groups = (
    ("all", lambda _: True),
    ("up to 32k", lambda point: 0 < (point.ctx_alloc or 0) <= LONG_CONTEXT),
    ("over 32k", lambda point: (point.ctx_alloc or 0) > LONG_CONTEXT),
    ("allocated context not stated", lambda point: not point.ctx_alloc),
    ("all but vLLM", lambda point: runner_of(point) != "vllm"),
)
BASES: dict[ContextBasis, str] = {
    "submitted": "not stated: the context that was submitted, which a llama.cpp server or hipfire allocates at its start",
    "ollama": "not stated: Ollama's default by the device's memory (4,096 below 23 GiB, 32,768 from there)",
    "run": "not stated: the tokens of the run, since MLX lets its cache grow and llama-bench allocates what it tests",
    "usual": f"neither stated nor submitted: {SERVER_CONTEXT:,}",
    "vllm": f"does not matter: vLLM takes {VLLM_SHARE:g} of the device at its start",
}


# The cache, by architecture.


def golden_facts(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The models of the table as peers are told about a row: name, weights, context."""
    models = {model.id: model for model in catalogue.models}
    return [_fact(models[name], context) for name, context, _ in GOLDEN]


def _fact(model: CatalogModel, context: int) -> dict[str, Any]:
    name = model.architecture.name or ""
    return {
        "id": model.id, "hardware": "", "vendor": "nvidia", "bandwidth_gbps": 1000.0, "memory_gb": None,
        "memory_bytes": None, "model": model.id, "architecture": "gemma3" if name.startswith("gemma3") else None,
        "params": model.params, "active": model.active_params, "moe": model.is_moe, "quant": "Q4_K_M", "gguf": True,
        "file_bytes": None, "context": context, "kv_dtype": None,
    }  # fmt: skip


def kv_part(catalogue: Catalogue, peers: dict[str, Any]) -> str:
    """One line a model: what the architecture needs, what we say, what the peers say; fp16."""
    models = {model.id: model for model in catalogue.models}
    lines = [
        "| model | by its dimensions | ours | whichllm, cache (with what it adds by context) | llmfit |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, context, real in GOLDEN:
        ours = (kv_bytes(models[name].architecture, context) or 0) / context
        which, fit = peers["whichllm"]["rows"][name], peers["llmfit"]["rows"][name]
        added = which["activation_by_context"]
        shown = _total if context == LONG else _per_token
        cells = [shown(each, context) for each in (real * KIB, ours)]
        cells.append(f"{shown(which['kv'] / context, context)} ({shown((which['kv'] + added) / context, context)})")
        cells.append(shown(fit["kv"] * GIB / context, context))
        where = f" at {context:,} tokens" if context == LONG else NOTES.get(name, "")
        lines.append(f"| {name.partition('/')[2]}{where} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kv_summary(catalogue: Catalogue, peers: dict[str, Any]) -> str:
    """The table in one line: how far everybody is off at most."""
    models = {model.id: model for model in catalogue.models}
    worst = {"ours": 1.0, "whichllm": 1.0, "llmfit": 1.0}
    for name, context, real in GOLDEN:
        which, fit = peers["whichllm"]["rows"][name], peers["llmfit"]["rows"][name]
        said = {
            "ours": kv_bytes(models[name].architecture, context) or 0,
            "whichllm": which["kv"] + which["activation_by_context"],
            "llmfit": fit["kv"] * GIB,
        }
        for who, total in said.items():
            ratio = total / context / (real * KIB)
            worst[who] = max(worst[who], ratio, 1 / ratio)
    cells = ["exact" if off < 1.005 else f"off by up to {off:.1f} ×" for off in worst.values()]
    return f"| cache per token, {len(GOLDEN)} architectures | {len(GOLDEN)} | {' | '.join(cells)} | – | exact |"


def memory_summary(rows: Sequence[Peak]) -> list[str]:
    """One line a group of the issue."""
    found = []
    for name, belongs in (GROUPS[0], GROUPS[2]):
        group = [row for row in rows if belongs(row.point)]
        if group:
            ours, which, fit = _everybody(group, on_device=True)
            ratio = error(ours) / min(error(which), error(fit))
            goal = "better than both: " + ("met" if ratio < 1 else "**not met**")
            few = "" if len(group) >= FEW else " (few rows)"
            cells = [percent(error(each)) for each in (ours, which, fit)]
            found.append(f"| peak memory, {name} | {len(group)} | {' | '.join(cells)} | {ratio:.2f} | {goal}{few} |")
    return found


def _per_token(per_token: float, _: int) -> str:
    return f"{per_token / KIB:,.0f} KiB"


def _total(per_token: float, context: int) -> str:
    return f"{per_token * context / GIB:.1f} GiB in all"


# Peaks, on measured points.


@dataclass(frozen=True, slots=True)
class Peak:
    """One counted row with everybody's estimate in GiB, before what its device has is known."""

    subject: Subject
    ours: float
    overhead: float
    """What of ours the backend itself takes, in GiB."""
    whichllm: tuple[float, ...]
    """One for each way it is asked."""
    llmfit: float

    @property
    def point(self) -> MeasuredPoint:
        return self.subject.point

    def ratios(self, estimates: Sequence[float], *, on_device: bool) -> list[float]:
        most = device_gib(self.point) if on_device else float("inf")
        return [min(each, most) / (self.point.peak_mem_gb or float("nan")) for each in estimates]


def peaks(points: Sequence[MeasuredPoint], catalogue: Catalogue, peers: dict[str, Any]) -> list[Peak]:
    """Every counted row with all estimates."""
    found = []
    for subject in subjects(points, catalogue):
        if is_counted_for_memory(subject.point):
            overhead = estimate_memory(
                subject.model, subject.build, subject.requirement, subject.hardware
            ).overhead_bytes
            asked = [peers[name]["rows"][subject.point.id]["memory"] / GIB for name in peers if "whichllm" in name]
            fit = peers["llmfit"]["rows"][subject.point.id]["memory"]
            found.append(Peak(subject, needed_gib(subject), overhead / GIB, tuple(asked), fit))
    return found


def memory_part(rows: Sequence[Peak]) -> str:
    """Median error of everybody by context, on the device and without that bound."""
    lines = [
        f"| peak memory | rows | ours | {PEERS} | ours : better peer |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for title, on_device in (("", True), (", as if every device were large enough", False)):
        for name, belongs in GROUPS:
            group = [row for row in rows if belongs(row.point)]
            if group:
                lines.append(_memory_line(f"{name}{title}", group, on_device=on_device))
    return "\n".join(lines) + "\n"


def context_part(points: Sequence[MeasuredPoint], rows: Sequence[Peak]) -> str:
    """Every row whose allocated context is taken, not stated, and every row with a peak that does not count; by id."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        basis = allocated(row.subject)[1]
        if basis != "stated":
            found["counted", BASES[basis]].append(row.point.id)
    for point in points:
        if point.peak_mem_gb is not None and not is_counted_for_memory(point):
            why = "spilled: part of it outside the device" if point.likely_spill else "no bandwidth"
            found["not counted", why].append(point.id)
    lines = ["| | allocated context, or reason | rows | ids |", "|---|---|--:|---|"]
    for (what, why), ids in sorted(found.items()):
        lines.append(f"| {what} | {why} | {len(ids)} | {', '.join(f'`{id_}`' for id_ in sorted(ids))} |")
    return "\n".join(lines) + "\n"


def _memory_line(name: str, group: Sequence[Peak], *, on_device: bool) -> str:
    ours, which, fit = _everybody(group, on_device=on_device)
    better = min(error(which), error(fit))
    cells = [f"{percent(error(each))} ({statistics.median(each):.2f})" for each in (ours, which, fit)]
    return f"| {name} | {len(group)} | {' | '.join(cells)} | {error(ours) / better:.2f} |"


def _everybody(group: Sequence[Peak], *, on_device: bool) -> tuple[Sequence[float], Sequence[float], Sequence[float]]:
    """Ratios of ours, of whichllm by the way that is kinder to it, and of llmfit."""
    ours = [ratio for row in group for ratio in row.ratios([row.ours], on_device=on_device)]
    asked = list(zip(*(row.ratios(row.whichllm, on_device=on_device) for row in group), strict=True))
    fit = [ratio for row in group for ratio in row.ratios([row.llmfit], on_device=on_device)]
    return ours, min(asked, key=error), fit


# What a backend takes.

STEPS = tuple(number / 8 for number in range(17))
"""Overheads that are tried, in GiB."""


def overhead_part(rows: Sequence[Peak]) -> str:
    """Overhead of the backend that fits best on all other devices, beside the one that ships; where there are rows."""
    titles = (
        "backend", "rows", "ships", "peaks above our other parts, median", "fits best, each device left out",
        "error as it ships", "error by the others'",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---|--:|--:|--:|---|--:|--:|"]
    for platform in ("nvidia", "amd", "macos"):
        group = [row for row in rows if row.subject.hardware.platform == platform and row.subject.known
                 and row.subject.runner != "vllm"]  # fmt: skip
        if len(group) >= FEW:
            lines.append(_overhead_line(platform, group))
        else:
            lines.append(f"| {platform} | {len(group)} | | | too few rows to fit | | |")
    return "\n".join(lines) + "\n"


def _overhead_line(platform: str, group: Sequence[Peak]) -> str:
    best, held = [], []
    for device in sorted({row.point.hardware for row in group}):
        others = [row for row in group if row.point.hardware != device]
        best.append(min(STEPS, key=lambda overhead: statistics.mean(_logs(others, overhead))))
        held += [_with(row, best[-1]) for row in group if row.point.hardware == device]
    shipped = error([_with(row, row.overhead) for row in group])
    ships = sorted({row.overhead for row in group})
    above = statistics.median((row.point.peak_mem_gb or math.nan) - row.ours + row.overhead for row in group)
    errors = f"{percent(shipped)} | {percent(error(held))}"
    return f"| {platform} | {len(group)} | {ships[0]:g} GiB | {above:.2f} GiB | {min(best):g} to {max(best):g} GiB | {errors} |"


def _with(row: Peak, overhead: float) -> float:
    return row.ratios([row.ours - row.overhead + overhead], on_device=True)[0]


def _logs(rows: Sequence[Peak], overhead: float) -> list[float]:
    return [abs(math.log(_with(row, overhead))) for row in rows]


# The interval.


def derived(rows: Sequence[tuple[MeasuredPoint, ScoredRow]], upper: float = INTERVAL.upper) -> MemoryInterval:
    """The interval that leaves a tenth of these rows below it and a tenth above."""
    below = sorted(row.measured / row.estimate for _, row in rows)
    above = sorted(row.measured - upper * row.estimate for _, row in rows)
    tenth = len(rows) // 10
    return MemoryInterval(lower=min(1.0, below[tenth]), upper=upper, other_gib=max(0.0, above[-1 - tenth]))


def interval_part(rows: Sequence[Peak]) -> str:
    """Coverage and width of the interval as it ships, and of one derived without the device it is asked about."""
    subjects_ = [row.subject for row in rows]
    scored = [(subject.point, scored_memory(subject)) for subject in subjects_]
    held = []
    for device in sorted({point.hardware for point, _ in scored}):
        without = derived([pair for pair in scored if pair[0].hardware != device])
        held += [(s.point, scored_memory(s, without)) for s in subjects_ if s.point.hardware == device]
    lines = ["| interval | rows | covers | upper : lower |", "|---|--:|--:|--:|"]
    for title, pairs in (("as it ships", scored), ("derived without the device", held)):
        for name, group in Accuracy.of(pairs, MEMORY_GROUPS).groups:
            if group.n:
                lines.append(f"| {title}, {name} | {group.n} | {percent(group.coverage80, 0)} | {group.width80:.2f} |")
    whole = derived(scored)
    shipped = f"{INTERVAL.lower:g} × to {INTERVAL.upper:g} × and {INTERVAL.other_gib:g} GiB"
    derived_from_all = f"{whole.lower:.2f} × and {whole.other_gib:.1f} GiB"
    lines += ["", f"As it ships: {shipped}. Derived from all of these rows, it would be {derived_from_all}."]
    return "\n".join(lines) + "\n"
