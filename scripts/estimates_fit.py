"""The fit parts of ``docs/estimates.md``: constants, the report of ``fit_speed.py``, and what is left out, by id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from estimates_figures import percent
from fit_speed import SAME_LAYERS, SEED, is_stated, report

from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.decode import SpeedConstants
from reconciler.ranking.scoring import ScoredRow, scored

SPLITS = {
    "committed": "the shipped constants",
    "fiveFolds": "five folds",
    "leaveOneDeviceOut": "device left out",
    "leaveOneFamilyOut": "family left out",
}
SINGLE = {
    "moe_bytes": "a byte of a routed expert costs so many times one of other weights",
    "moe_layers": "a layer with experts takes so many times the fixed time",
    "cache_bytes": "a byte of the cache costs so many times one of weights",
    "shared_memory": "efficiency of an NVIDIA or AMD device that shares its memory with the CPU, over others",
    "apple_width": "Apple: efficiency falls with (bandwidth / 300 GB/s) to minus this power",
    "wide_weights": "efficiency with weights of 8 bits and more, over those with fewer",
    "prompt_worth": "a row timed with its prompt: the prompt costs so many tokens",
}


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the fit says, and the counted rows by constants that never saw them."""

    report: Mapping[str, Any]
    held: tuple[ScoredRow, ...]
    suspected: Mapping[str, str]
    """Why rows are suspect, by id; a file's "same" told in full."""


def suspicions(points: Sequence[MeasuredPoint]) -> dict[str, str]:
    """The reason of each suspect row; "same" is that of another row of the device, else that of the row before it."""
    found, last = {}, ""
    of_device = {point.hardware: point.suspect for point in points if point.suspect and point.suspect != "same"}
    for point in points:
        if point.suspect:
            last = point.suspect if point.suspect != "same" else of_device.get(point.hardware, last)
            found[point.id] = last
    return found


def fitted(points: Sequence[MeasuredPoint]) -> Fitted:
    """Fit, with every split. Takes minutes."""
    result, folds = report(points, SEED, quick=False)
    held = [scored(row.subject, row.question.estimate(constants)) for row, constants in folds if is_stated(row)]
    return Fitted(result, tuple(held), suspicions(points))


def constants_part(constants: SpeedConstants) -> str:
    """Every constant of ``decode.py`` that measurements decide, as the code has it."""
    lines = ["| backend | efficiency | time per layer | width of the interval, to the power of |", "|---|--:|--:|--:|"]
    for name, backend in constants.backends.items():
        shared = f" (of `{SAME_LAYERS[name]}`)" if name in SAME_LAYERS else ""
        lines.append(
            f"| `{name}` | {backend.efficiency:g} | {backend.per_layer * 1e6:.4g} µs{shared} | {backend.spread:g} |"
        )
    lines += ["", "| constant | value | meaning |", "|---|--:|---|"]
    lines += [f"| `{name}` | {getattr(constants, name):g} | {meaning} |" for name, meaning in SINGLE.items()]
    widths = constants.widths
    named = {
        "dense": widths.dense, "mixtures": widths.moe, "below 2 B": widths.small, "on a CPU": widths.cpu,
        "partly outside the accelerator": widths.offload, "on several accelerators": widths.several, "devices of which few were measured": widths.unsure,
    }  # fmt: skip
    lines += [
        "",
        "The 80 % interval is the estimate × and ÷ " + ", ".join(f"{v:g} {k}" for k, v in named.items()) + ".",
    ]
    lines.append(f"Fitted constants: {len(constants.backends) * 2 - len(SAME_LAYERS) + len(SINGLE)}.")
    return "\n".join(lines) + "\n"


def fit_part(fit: Fitted) -> str:
    """Every group by every split."""
    result = fit.report
    rows = result["rows"]
    opening = (
        f"{rows['given']} rows given, {rows['counted']} counted, {rows['fitted']} fitted on (with CPU rows of one machine, "
        f"whose bandwidth is computed and which are not counted). {result['constantCount']} constants, none of them of one "
        "device or one model. Error, bias, and what the interval covers:"
    )
    lines = [
        opening,
        "",
        "| group | rows | " + " | ".join(SPLITS.values()) + " |",
        "|---|--:" + "|--:" * len(SPLITS) + "|",
    ]
    for name, group in result["committed"].items():
        cells = [_cell(result[split].get(name)) for split in SPLITS]
        lines.append(f"| {name}{'' if group['judged'] else ' (few)'} | {group['n']} | {' | '.join(cells)} |")
    lines += ["", "A device left out costs so many times the error of the five folds, goal at most 1.5 for all: " + "; ".join(
        _device_left_out(name, result) for name in result["furtherSeeds"]) + "."]  # fmt: skip
    seeds = result["furtherSeeds"]
    lines += ["", "The folds with four other seeds, median error: " + "; ".join(
        f"{name} " + ", ".join(percent(value) for value in seeds[name]["mdape"]) for name in seeds) + "."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _device_left_out(name: str, result: Mapping[str, Any]) -> str:
    ratio = result["leaveOneDeviceOut"][name]["mdape"] / result["fiveFolds"][name]["mdape"]
    judged = "" if name != "all" else " (met)" if ratio <= 1.5 else " (**not met**)"
    return f"{name} {ratio:.2f} ×{judged}"


def _cell(group: Mapping[str, Any] | None) -> str:
    return f"{percent(group['mdape'])} ({group['bias']:.2f}), {percent(group['coverage80'], 0)}" if group else "–"


def excluded_part(fit: Fitted) -> str:
    """Every row that is not counted, or not fitted on, by its reason."""
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in fit.report["excluded"]:
        suspect = fit.suspected.get(one["id"]) if one["reason"].startswith("suspect") else None
        by_reason[one["from"], f"suspect: {suspect}" if suspect else one["reason"]].append(one["id"])
    lines = ["| not … | reason | rows | ids |", "|---|---|--:|---|"]
    for (what, reason), ids in sorted(by_reason.items()):
        lines.append(f"| {what} | {reason} | {len(ids)} | {', '.join(f'`{id_}`' for id_ in sorted(ids))} |")
    return "\n".join(lines) + "\n"
