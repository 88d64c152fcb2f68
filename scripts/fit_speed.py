"""Fits the constants of ``reconciler/ranking/decode.py`` to measured decode speeds, and reports how well they hold.

Usage: ``python scripts/fit_speed.py MEASURED.json [--json] [--worst N] [--seed N] [--quick]``

Every number comes from the product: a point is asked as ``ranking.scoring.SpeedQuestion``, which calls the ranking's
own ``estimate_speed``. The script only searches the constants.

Counted: every row that did not spill and whose device's bandwidth is stated, suspect ones too. Fitted on: those that are
not suspect. The CPU rows of one known machine, whose bandwidth is computed, are neither; they show what the assumed
constants of CPUs are worth. Each row that is left out of either is printed with its reason.

Held out, never fitted on: five folds by (device, model), with a fixed seed and with further ones to show how much the
folds themselves decide; every device in turn; every family in turn. The loss is a mean absolute log error, rounded at
the bottom, flat beyond a factor of 1.8, with a weak pull to round numbers (``GUESSED``), so that a backend of few
rows stays where physics puts it. What would rest on one device alone is not fitted but assumed (``ASSUMED``); the report
counts the devices and models that every fitted constant rests on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from estimates_figures import FEW
from fit_constants import ASSUMED, GUESSED, SAME_LAYERS, pull
from fit_prefill import first_token, prefill
from fit_rows import CPU_BANDWIDTH, Row, rows_of

from reconciler.cli.commands.score import read_points
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.decode import CONSTANTS, SpeedConstants, weights_read
from reconciler.ranking.measured import subjects
from reconciler.ranking.scoring import (
    SMALL_BILLIONS,
    SPEED_GROUPS,
    GroupScore,
    SpeedQuestion,
    scored,
    speed_score,
)

SEED = 1
FURTHER_SEEDS = (2, 3, 4, 5)


def with_values(fitted_: Mapping[str, float]) -> SpeedConstants:
    """The product's constants with these, and those that are assumed, in place of its own."""
    values = {**{name: one.value for name, one in ASSUMED.items()}, **fitted_}
    backends = {}
    for name, backend in CONSTANTS.backends.items():
        layers = values[f"per_layer.{SAME_LAYERS.get(name, name)}"]
        backends[name] = dataclasses.replace(backend, efficiency=values[f"efficiency.{name}"], per_layer=layers)
    single: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    return dataclasses.replace(CONSTANTS, backends=MappingProxyType(backends), **single)


class Search:
    """A pattern search over the logarithms of the constants; a trial asks only the rows its constant touches."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.values = dict(GUESSED)
        self.errors = self._errors(range(len(rows)), self.values)
        self.touched = {name: self._touched(name) for name in self.values}

    def _errors(self, which: Iterable[int], values: Mapping[str, float]) -> dict[int, float]:
        constants = with_values(values)
        return {index: self.rows[index].error(constants) for index in which}

    def _touched(self, name: str) -> list[int]:
        trial = self._errors(range(len(self.rows)), self.values | {name: self.values[name] * 1.07})
        return [index for index, error in trial.items() if error != self.errors[index]]

    def _held(self, name: str, value: float) -> float:
        return 0.1 * pull(name) * math.log(value / GUESSED[name]) ** 2

    def _try(self, name: str, factor: float) -> bool:
        value = self.values[name] * factor
        trial = self._errors(self.touched[name], self.values | {name: value})
        gain = sum(self.errors[index] - error for index, error in trial.items())
        if gain + self._held(name, self.values[name]) - self._held(name, value) <= 1e-5:
            return False
        self.values[name] = value
        self.errors.update(trial)
        return True

    def run(self) -> SpeedConstants:
        """The constants where no step of 1 % helps."""
        for step in (0.2, 0.05, 0.015):
            improved, rounds = True, 0
            while improved and rounds < 15:
                rounds += 1
                improved = False
                for name in self.values:
                    improved |= self._try(name, math.exp(step)) or self._try(name, math.exp(-step))
        return with_values(self.values)


def fit(rows: Sequence[Row]) -> SpeedConstants:
    """The constants that fit the rows that are of a stated bandwidth and not suspect."""
    return Search(fitted_on(rows)).run()


def fitted_on(rows: Sequence[Row]) -> list[Row]:
    """Of these rows."""
    return [row for row in rows if row.is_stated and not row.point.suspect]


def rests_on(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """How many rows, devices and models each fitted constant rests on: those whose estimate moves with it."""
    search = Search(fitted_on(rows))
    found = {}
    for name, which in search.touched.items():
        of = [search.rows[index] for index in which]
        found[name] = {
            "rows": len(of), "devices": len({row.device for row in of}), "models": len({row.subject.model.id for row in of})
        }  # fmt: skip
    return found


Held = list[tuple[Row, SpeedConstants]]
"""Rows with constants that never saw them."""


def held_out(rows: Sequence[Row], group: Callable[[Row], object]) -> Held:
    """Each group's rows with the constants of all the others."""
    held: Held = []
    for name in sorted({group(row) for row in rows}, key=str):
        constants = fit([row for row in rows if group(row) != name])
        held += [(row, constants) for row in rows if group(row) == name]
    return held


def five_folds(rows: Sequence[Row], seed: int) -> Callable[[Row], int]:
    """Which of five folds a row is in: by device and model, shuffled."""
    pairs = sorted({row.pair for row in rows})
    random.Random(seed).shuffle(pairs)
    fold = {pair: number % 5 for number, pair in enumerate(pairs)}
    return lambda row: fold[row.pair]


def exclusions(points: Iterable[MeasuredPoint]) -> list[tuple[str, str, str]]:
    """(id, what it is left out of, why) of every row that is not both counted and fitted on."""
    found = []
    for point in points:
        if point.likely_spill:
            found.append((point.id, "counted and fitted", "spilled: part of it outside the device"))
        elif point.hardware in CPU_BANDWIDTH and point.bw_gbps is None:
            found.append(
                (
                    point.id,
                    "counted and fitted",
                    "its bandwidth is computed, not stated: a check of the assumed constants of CPUs",
                )
            )
        elif point.bw_gbps is None or point.decode_tps is None:
            found.append((point.id, "counted and fitted", "no bandwidth"))
        elif point.suspect:
            found.append((point.id, "fitted", f"suspect: {point.suspect}"))
    return found


def computed_cpu(rows: Sequence[Row]) -> dict[str, Any]:
    """What the assumed constants of CPUs are worth on the one machine there is."""
    of = [scored(row.subject, row.question.estimate()) for row in rows if not row.is_stated]
    return {**dataclasses.asdict(GroupScore.of(of)), "judged": False}


def spilled(points: Sequence[MeasuredPoint]) -> dict[str, Any]:
    """Rows partly outside their device, which are neither counted nor fitted on: the RAM's bandwidth is assumed, and
    what lies where is the memory estimate's.
    """
    timed = [point for point in points if point.likely_spill and point.bw_gbps and point.decode_tps]
    rows = [scored(it, SpeedQuestion.of(it).estimate()) for it in subjects(timed, load_bundled())]
    return {**dataclasses.asdict(GroupScore.of(rows)), "judged": False}


def summary(held: Held) -> dict[str, dict[str, float | int | bool | None]]:
    """The groups of ``localmodels score``, and one for every backend."""
    counted = [(row, constants) for row, constants in held if row.is_stated]
    estimated = [(row.subject, row.question.estimate(constants)) for row, constants in counted]
    groups = dict(speed_score(estimated).groups)
    for name in sorted({row.backend for row, _ in counted}):
        of_it = [scored(*pair) for (row, _), pair in zip(counted, estimated, strict=True) if row.backend == name]
        groups[name] = GroupScore.of(of_it)
    return {name: {**dataclasses.asdict(group), "judged": group.n >= FEW} for name, group in groups.items()}


def kind(row: Row) -> str:
    """Which width of the interval the row takes."""
    if row.question.hardware.platform in ("cpu", "intel"):
        return row.question.hardware.platform
    if weights_read(row.subject.model).is_mixture:
        return "moe"
    return "small" if row.point.params_b < SMALL_BILLIONS else "dense"


def needed_widths(held: Held) -> dict[str, dict[str, float]]:
    """By kind and backend: upper end over estimate that covers 75, 80 and 85 % of the held-out rows."""
    found: dict[str, list[float]] = {}
    for row, constants in held:
        if row.is_stated:
            log = abs(math.log(row.question.estimate(constants).tokens_per_second / row.measured))
            for name in (kind(row), f"on {row.backend}"):
                found.setdefault(name, []).append(log)
    return {
        name: {"n": len(logs), **{f"{share:.0%}": math.exp(_quantile(logs, share)) for share in (0.75, 0.8, 0.85)}}
        for name, logs in sorted(found.items())
    }


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def constants_of(constants: SpeedConstants) -> dict[str, float]:
    """The fitted constants by name."""
    found = {}
    for name in GUESSED:
        what, _, backend = name.partition(".")
        found[name] = getattr(constants.backends[backend] if backend else constants, what)
    return found


def report(points: Sequence[MeasuredPoint], seed: int, *, quick: bool) -> tuple[dict[str, Any], Held]:
    """Everything the fit says, ready for JSON; and the rows of the five folds."""
    rows = rows_of(points)
    fitted = fit(rows)
    folds = held_out(rows, five_folds(rows, seed))
    result: dict[str, Any] = {
        "rows": {
            "given": len(points),
            "counted": sum(row.is_stated for row in rows),
            "fitted": len(fitted_on(rows)),
        },
        "excluded": [{"id": id_, "from": what, "reason": why} for id_, what, why in exclusions(points)],
        "constants": constants_of(fitted),
        "constantCount": {"fitted": len(GUESSED), "assumed": len(ASSUMED)},
        "assumed": {name: {"value": one.value, "why": one.why} for name, one in ASSUMED.items()},
        "restsOn": rests_on(rows),
        "committed": summary([(row, CONSTANTS) for row in rows]),
        "fitted": summary([(row, fitted) for row in rows]),
        "fiveFolds": summary(folds),
        "widths": needed_widths(folds),
        "prefill": prefill(rows),
        "firstToken": first_token(rows),
        "computedCpu": computed_cpu(rows),
        "spilled": spilled(points),
    }
    if not quick:
        result["leaveOneDeviceOut"] = summary(held_out(rows, lambda row: row.device))
        result["leaveOneFamilyOut"] = summary(held_out(rows, lambda row: row.family))
        further = [summary(held_out(rows, five_folds(rows, other))) for other in FURTHER_SEEDS]
        result["furtherSeeds"] = {
            name: {"mdape": [one[name]["mdape"] for one in further], "coverage80": [one[name]["coverage80"] for one in further]}
            for name, _ in SPEED_GROUPS
        }  # fmt: skip
    return result, folds


def show(result: Mapping[str, Any]) -> None:
    """The report for people."""
    for one in result["excluded"]:
        print(f"{one['id']}: not {one['from']}: {one['reason']}")
    print("\nrows:", ", ".join(f"{count} {name}" for name, count in result["rows"].items()))
    print(
        f"{len(GUESSED)} constants fitted, {len(ASSUMED)} assumed; of a device or a model alone: {_of_one(result) or 'none'}"
    )
    for name, value in result["constants"].items():
        print(f"  {name:22s} {value:.4g}  {result['restsOn'][name]}")
    for name, one in result["assumed"].items():
        print(f"  {name:22s} {one['value']:.4g}  assumed: {one['why']}")
    titles = {
        "committed": "with the constants of the code", "fitted": "fitted on the same rows",
        "fiveFolds": "five folds by (device, model)", "leaveOneDeviceOut": "each device left out",
        "leaveOneFamilyOut": "each family left out",
    }  # fmt: skip
    for key, title in titles.items():
        if key in result:
            show_groups(title, result[key])
    show_groups("a CPU whose bandwidth is computed, with the constants of the code", {"cpu": result["computedCpu"]})
    show_groups("partly outside the device, with the constants of the code", {"spilled": result["spilled"]})
    print("\nupper end over estimate that covers so many of the rows not fitted on")
    for name, widths in result["widths"].items():
        print(f"  {name:9s}", "  ".join(f"{share} {value:.3g}" for share, value in widths.items()))
    show_prompts("prefill", result["prefill"])
    show_prompts("time to the first token", result["firstToken"])
    for name, values in result.get("furtherSeeds", {}).items():
        print(f"  other seeds, {name}:", ", ".join(f"{value:.1%}" for value in values["mdape"]))


def _of_one(result: Mapping[str, Any]) -> list[str]:
    return [name for name, on in result["restsOn"].items() if on["devices"] < 2 or on["models"] < 2]


def show_prompts(title: str, found: Mapping[str, Mapping[str, float]]) -> None:
    """One table of ``fit_prefill``."""
    print(f"\n{title}, estimate over measured")
    for name, it in found.items():
        print(
            f"  {name:14s} n {it['n']:2d}  MdAPE {it['mdape']:.0%}  bias {it['bias']:.2f}  within x2 {it['withinTwo']:.0%}"
        )


def show_groups(title: str, groups: Mapping[str, Mapping[str, float]]) -> None:
    """One table."""
    print(f"\n{title}\n  group        n   MdAPE    bias  covered  width")
    for name, it in groups.items():
        note = "" if it["judged"] else "  (not judged)"
        print(
            f"  {name:9s} {it['n']:4d} {it['mdape']:7.1%} {it['bias']:7.2f} {it['coverage80']:8.1%} {it['width80']:6.2f}{note}"
        )


def show_worst(held: Held, count: int) -> None:
    """The held-out rows that are furthest off."""
    ratios = [(row.question.estimate(constants).tokens_per_second / row.measured, row) for row, constants in held]
    for ratio, row in sorted(ratios, key=lambda pair: -abs(math.log(pair[0])))[:count]:
        it = row.point
        print(f"{ratio:5.2f} {row.measured:7.1f} {row.device} {it.model} {it.quant} {it.engine} {it.suspect or ''}")


def main() -> None:
    """Reads the file, fits, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", metavar="MEASURED.json")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--worst", type=int, default=0, help="print so many rows that are furthest off")
    parser.add_argument("--seed", type=int, default=SEED, help="of the five folds")
    parser.add_argument("--quick", action="store_true", help="one seed, no device or family left out")
    asked = parser.parse_args()
    result, folds = report(read_points(asked.measured), asked.seed, quick=asked.quick)
    if asked.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
        return
    show(result)
    show_worst(folds, asked.worst)


if __name__ == "__main__":
    main()
