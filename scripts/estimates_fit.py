"""The fit parts of ``docs/estimates.md``: constants, the report of ``fit_speed.py``, and what is left out, by id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from estimates_figures import percent
from fit_constants import ASSUMED, GUESSED, SAME_LAYERS
from fit_speed import SEED, report

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
    held = [scored(row.subject, row.question.estimate(constants)) for row, constants in folds if row.is_stated]
    return Fitted(result, tuple(held), suspicions(points))


def constants_part(constants: SpeedConstants) -> str:
    """Every constant of ``decode.py`` that measurements decide, as the code has it."""
    lines = ["| backend | efficiency | time per layer | width of the interval, to the power of |", "|---|--:|--:|--:|"]
    for name, backend in constants.backends.items():
        shared = f" (of `{SAME_LAYERS[name]}`)" if name in SAME_LAYERS else _assumed(f"per_layer.{name}")
        efficiency = f"{backend.efficiency:g}{_assumed(f'efficiency.{name}')}"
        lines.append(f"| `{name}` | {efficiency} | {backend.per_layer * 1e6:.4g} µs{shared} | {backend.spread:g} |")
    lines += ["", "| constant | value | meaning |", "|---|--:|---|"]
    lines += [
        f"| `{name}` | {getattr(constants, name):g}{_assumed(name)} | {meaning} |" for name, meaning in SINGLE.items()
    ]
    lines += ["", "Assumed, not fitted, because the rows are of one device or there are none:", ""]
    lines += [f"* `{name}`: {one.why}." for name, one in ASSUMED.items()]
    widths = constants.widths
    named = {
        "dense": widths.dense, "mixtures": widths.moe, "below 2 B": widths.small, "on a CPU": widths.cpu,
        "partly outside the accelerator": widths.offload, "on several accelerators": widths.several, "devices of which few were measured": widths.unsure,
    }  # fmt: skip
    lines += [
        "",
        "The 80 % interval is the estimate × and ÷ " + ", ".join(f"{v:g} {k}" for k, v in named.items()) + ".",
    ]
    rates = sum(backend.prefill is not None for backend in constants.backends.values())
    spreads = sum(backend.spread != 1 for backend in constants.backends.values())
    lines += [
        "",
        f"Constants of the speed: {len(GUESSED)} fitted, {len(ASSUMED)} assumed.",
        (
            f"Beside them, from the residuals or read off: {len(named)} widths of the interval and {spreads} powers of them, "
            f"{rates} prefill rates and 2 more figures of prompts."
        ),
    ]
    return "\n".join(lines) + "\n"


def _assumed(name: str) -> str:
    return " (assumed)" if name in ASSUMED else ""


def fit_part(fit: Fitted) -> str:
    """Every group by every split."""
    result = fit.report
    rows, count = result["rows"], result["constantCount"]
    lines = [
        (
            f"{rows['given']} rows given, {rows['counted']} counted, {rows['fitted']} fitted on. {count['fitted']} constants "
            f"fitted, {count['assumed']} assumed. What each fitted one rests on, as rows whose estimate moves with it:"
        ),
        "",
        *_rests_on(result),
        "",
        _cpu(result["computedCpu"]),
        "",
        "Error, bias, and what the interval covers:",
        "",
        "| group | rows | " + " | ".join(SPLITS.values()) + " |",
        "|---|--:" + "|--:" * len(SPLITS) + "|",
    ]
    for name, group in result["committed"].items():
        cells = [_cell(result[split].get(name)) for split in SPLITS]
        lines.append(f"| {name}{'' if group['judged'] else ' (few)'} | {group['n']} | {' | '.join(cells)} |")
    lines += [
        "",
        (
            "A device left out costs so many times the error of the five folds. The goal of at most 1.5 × is read as one of all "
            "rows; each group of 20 rows and more is held to it as well:"
        ),
        "",
    ]
    lines += [_device_left_out(name, result) for name in result["leaveOneDeviceOut"]]
    seeds = result["furtherSeeds"]
    lines += ["", "The folds with four other seeds, median error: " + "; ".join(
        f"{name} " + ", ".join(percent(value) for value in seeds[name]["mdape"]) for name in seeds) + "."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _rests_on(result: Mapping[str, Any]) -> list[str]:
    lines = ["| fitted constant | a new fit to all rows | rows | devices | models |", "|---|--:|--:|--:|--:|"]
    for name, on in result["restsOn"].items():
        value = result["constants"][name]
        shown = f"{value * 1e6:.3g} µs" if name.startswith("per_layer") else f"{value:.3g}"
        lines.append(f"| `{name}` | {shown} | {on['rows']} | {on['devices']} | {on['models']} |")
    alone = [f"`{name}`" for name, on in result["restsOn"].items() if min(on["devices"], on["models"]) < 2]
    return [*lines, "", f"Of one device or one model alone: {', '.join(alone) or 'none'}."]


def _cpu(group: Mapping[str, Any]) -> str:
    if not group["n"]:
        return "No rows of a CPU."
    return (
        f"The constants of CPUs are assumed; on the one CPU that was measured, whose bandwidth is computed ({group['n']} "
        f"rows, neither counted nor fitted on), they are off by {percent(group['mdape'])}, bias {group['bias']:.2f}."
    )


def _device_left_out(name: str, result: Mapping[str, Any]) -> str:
    group, folds = result["leaveOneDeviceOut"][name], result["fiveFolds"][name]
    ratio = group["mdape"] / folds["mdape"]
    verdict = "few rows, not judged" if not group["judged"] else "met" if ratio <= 1.5 else "**not met**"
    return f"* {name}: {ratio:.2f} × ({verdict})"


PROMPTS = {"prefill": "prompt tokens a second", "firstToken": "time to the first token"}


def prompts_part(fit: Fitted) -> str:
    """How the figures of prompts hold."""
    titles = (
        "what", "rows", "devices", "error", "bias", "within × 2", "error by the other devices' rate", "confidence",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" + "|--:" * (len(titles) - 2) + "|---|"]
    for key, title in PROMPTS.items():
        for name, it in fit.report[key].items():
            others = "one device" if it["deviceLeftOut"] is None else percent(it["deviceLeftOut"], 0)
            sure = "medium" if key == "prefill" and name == "cuda dense" else "low"
            lines.append(
                f"| {title}, {name} | {it['n']} | {it['devices']} | {percent(it['mdape'], 0)} | {it['bias']:.2f} "
                f"| {percent(it['withinTwo'], 0)} | {others} | {sure} |"
            )
    return "\n".join(lines) + "\n"


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
