"""Fits what twice the weights and a year are worth on a leaderboard: the constants of ``reconciler/ranking/scales.py``.

Usage: ``python scripts/fit_quality_prior.py BENCHMARKS.json MODELS.json``

Per board: values in robust standard deviations around the median, regressed on log2 of the effective weights and on
the release date, by least absolute deviations (iterated weighted least squares; plain Python).
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from datetime import date
from pathlib import Path

BOARDS = ("lmarena_text_style_control", "ollb2_average", "mteb_eng_v2_mean_task", "mteb_eng_v2_retrieval")


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


def main() -> None:
    models = {model["id"]: model for model in json.loads(Path(sys.argv[2]).read_text())}
    taken: dict[str, dict[str, list[float]]] = {}
    for row in json.loads(Path(sys.argv[1]).read_text()):
        if row["benchmark"] in BOARDS:
            taken.setdefault(row["benchmark"], {}).setdefault(row["model"], []).append(row["value"])
    for board in BOARDS:
        values = {name: statistics.mean(several) for name, several in taken[board].items()}
        centre = statistics.median(values.values())
        spread = 1.4826 * statistics.median(abs(value - centre) for value in values.values())
        points = []
        for name, value in values.items():
            model = models[name]
            if model["params_b"] and model["release_date"]:
                weights = math.sqrt(model["params_b"] * (model["active_params_b"] or model["params_b"]))
                years = (date.fromisoformat(model["release_date"]) - date(2025, 1, 1)).days / 365.25
                away = max(-3.0, min(3.0, (value - centre) / spread))
                points.append(([math.log2(weights), years, 1.0], away))
        (doubling, year, _), left = fit(points)
        print(f"{board}: {len(points)} models, {doubling:.2f} a doubling, {year:.2f} a year, median error {left:.2f}")


main()
