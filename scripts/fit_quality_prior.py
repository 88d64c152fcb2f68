"""Fits and checks the constants of ``reconciler/ranking/scales.py`` and ``quality.py`` on the catalogue that ships.

Usage: ``python scripts/fit_quality_prior.py``

Prints what twice the weights and a year are worth on a leaderboard (values in robust standard deviations around the
median, regressed on log2 of the effective weights and on the release date, by least absolute deviations), how far two
boards of one profile place the same model apart, and how far what a measured model would inherit lies from what was
measured of it, as if it had not been.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from datetime import date

from reconciler.domain.catalog import Catalogue
from reconciler.domain.estimate import Profile
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.profiles import benchmark_weight, model_serves
from reconciler.ranking.quality import EvidenceIndex
from reconciler.ranking.scales import effective_weights, expected, group_of

BOARDS = ("lmarena_text_style_control", "ollb2_average", "mteb_eng_v2_mean_task", "mteb_eng_v2_retrieval")
FEWEST_SHARED = 6
Z80 = 1.2816
PROFILES: tuple[Profile, ...] = ("general", "coding", "reasoning", "embedding")


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gaussian elimination with pivoting; a column without information gives 0."""
    size = len(right)
    rows = [[*matrix[i], right[i]] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        if abs(rows[column][column]) < 1e-9:
            rows[column][column] = 1e9
        for i in range(size):
            if i != column:
                factor = rows[i][column] / rows[column][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def fit(points: list[tuple[list[float], float]]) -> tuple[list[float], float]:
    """Coefficients, and the median distance that they leave."""
    weights = [1.0] * len(points)
    for _ in range(30):
        size = len(points[0][0])
        matrix = [
            [sum(w * x[i] * x[j] for w, (x, _) in zip(weights, points, strict=True)) for j in range(size)]
            for i in range(size)
        ]
        right = [sum(w * x[i] * y for w, (x, y) in zip(weights, points, strict=True)) for i in range(size)]
        found = solve(matrix, right)
        left = [abs(y - sum(a * b for a, b in zip(found, x, strict=True))) for x, y in points]
        weights = [1 / max(distance, 0.05) for distance in left]
    return found, statistics.median(left)


def worth(known: Catalogue, board: str) -> str:
    """What a doubling and a year are worth on one board."""
    models = {model.id: model for model in known.models}
    taken: dict[str, list[float]] = {}
    for row in known.observations:
        if row.benchmark == board:
            taken.setdefault(row.model, []).append(row.value)
    values = {name: statistics.mean(several) for name, several in taken.items()}
    centre = statistics.median(values.values())
    spread = 1.4826 * statistics.median(abs(value - centre) for value in values.values())
    points = []
    for name, value in values.items():
        weights, released = effective_weights(models[name]), models[name].released
        if weights and released:
            years = (released - date(2025, 1, 1)).days / 365.25
            away = max(-3.0, min(3.0, (value - centre) / spread))
            points.append(([math.log2(weights), years, 1.0], away))
    (doubling, year, _), left = fit(points)
    return f"{board}: {len(points)} models, {doubling:.2f} a doubling, {year:.2f} a year, median error {left:.2f}"


def places(index: EvidenceIndex, known: Catalogue, profile: Profile) -> dict[str, dict[str, float]]:
    """Board to model to where its benchmarks of the profile place it."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in known.observations:
        weight, scale = benchmark_weight(row.benchmark, profile), index.scales.get(group_of(row))
        if weight > 0 and scale is not None:
            board = found.setdefault(row.benchmark.partition("_")[0], {})
            board.setdefault(row.model, []).append((scale.normalise(row.value), weight))
    return {
        board: {model: sum(v * w for v, w in own) / sum(w for _, w in own) for model, own in takers.items()}
        for board, takers in found.items()
    }


def agreement(index: EvidenceIndex, known: Catalogue, profile: Profile) -> list[str]:
    """How far pairs of boards place the same models apart."""
    by_board = places(index, known, profile)
    lines = []
    for one, other in itertools.combinations(sorted(by_board), 2):
        both = sorted(by_board[one].keys() & by_board[other].keys())
        if len(both) >= FEWEST_SHARED:
            apart = [by_board[one][model] - by_board[other][model] for model in both]
            lines.append(
                f"{profile}: {one} and {other}, {len(both)} models, "
                f"{statistics.pstdev(apart):.1f} points apart (bias {statistics.mean(apart):+.1f})"
            )
    return lines


def inheritance(index: EvidenceIndex, known: Catalogue, profile: Profile) -> str:
    """What measured models would inherit against what was measured; a model never lends to itself."""
    inherited: list[float] = []
    prior: list[float] = []
    covered = 0
    for model in known.models:
        own = index.quality(model, profile)
        if not model_serves(model, profile) or own.covered < 1 or own.judged_as:
            continue
        heir = index.inherited(model, profile)
        if heir.inherited_from:
            inherited.append(own.score - heir.score)
            prior.append(own.score - expected(model))
            covered += abs(inherited[-1]) <= Z80 * heir.deviation
    return (
        f"{profile}: {len(inherited)} models, inherited within {_percentile(inherited, 0.5):.1f} points at the median "
        f"and {_percentile(inherited, 0.8):.1f} for 80 %, 80 % interval covers {covered / len(inherited):.0%}; "
        f"by size and date alone {_percentile(prior, 0.5):.1f} and {_percentile(prior, 0.8):.1f}"
    )


def _percentile(errors: Sequence[float], share: float) -> float:
    ordered = sorted(abs(error) for error in errors)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Print the report."""
    known = load_bundled()
    index = EvidenceIndex.of(known, known.generated_at)
    for board in BOARDS:
        print(worth(known, board))
    for profile in PROFILES:
        print(*agreement(index, known, profile), sep="\n")
    for profile in PROFILES:
        print(inheritance(index, known, profile))


if __name__ == "__main__":
    main()
