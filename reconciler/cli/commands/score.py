"""``score``: our estimates against a file of measured points, so that anyone can judge them on points of their own."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reconciler.cli.outcome import print_json
from reconciler.cli.streams import one_line
from reconciler.cli.views.score import Counted, score_text
from reconciler.errors import UsageError
from reconciler.formats.flaws import Flawed
from reconciler.formats.foreign_json import read_json
from reconciler.formats.measured_file import MeasuredPoint, PointsRead
from reconciler.formats.measured_file import read_points as parsed_points
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.scoring import GroupScore, ScoredRow, is_counted, score_speed
from reconciler.ranking.scoring_memory import is_counted_for_memory, score_memory

SIZE_LIMIT_BYTES = 64 * 2**20
STDIN = "-"
_HINT = "docs/estimates.md describes the format"


@dataclass(frozen=True, slots=True)
class ScoreArguments:
    """What the command line was given."""

    file: str
    """A path; ``-`` for standard input."""
    as_json: bool
    rows: bool


def show_score(arguments: ScoreArguments) -> int:
    """Score the estimates by the bundled catalogue: the same on every machine, without a network.

    Raises:
        UsageError: the file cannot be read, or is not in the format; every flaw (the first 20) in the details.
    """
    read = _read(arguments.file)
    points, catalogue = read.points, load_bundled()
    notes = (*read.warnings, *(catalogue.notes if catalogue.origin == "fallback" else ()))
    speed, memory = score_speed(points, catalogue), score_memory(points, catalogue)
    counted = counted_of(points)
    if not arguments.as_json:
        sys.stdout.write(score_text(speed, memory, counted, with_rows=arguments.rows) + "\n")
        sys.stderr.write("".join(one_line(f"warning: {note}") + "\n" for note in notes))
        return 0
    found: dict[str, Any] = {
        "speed": {name: _group(group) for name, group in speed.groups},
        "memory": {name: _group(group) for name, group in memory.groups},
        "points": {
            "all": counted.points,
            "spilled": counted.spilled,
            "withoutBandwidth": counted.without_bandwidth,
            "notTimed": counted.not_timed,
        },
    }
    if arguments.rows:
        found["rows"] = {"speed": _rows(speed.rows), "memory": _rows(memory.rows)}
    print_json(found, warnings=notes)
    return 0


def counted_of(points: tuple[MeasuredPoint, ...]) -> Counted:
    """How many points count, and why the others do not; each of those for its first reason."""
    kept = [point for point in points if not point.likely_spill]
    known = [point for point in kept if point.bw_gbps is not None]
    return Counted(
        points=len(points),
        speed=sum(is_counted(point) for point in points),
        memory=sum(is_counted_for_memory(point) for point in points),
        spilled=len(points) - len(kept),
        without_bandwidth=len(kept) - len(known),
        not_timed=sum(point.decode_tps is None for point in known),
    )


def read_points(file: str) -> tuple[MeasuredPoint, ...]:
    """Every point of a file, or one error with everything that is wrong in it."""
    return _read(file).points


def _read(file: str) -> PointsRead:
    name = "standard input" if file == STDIN else file
    parsed = parsed_points(_document(name, _text(file)))
    if isinstance(parsed, Flawed):
        raise UsageError(f"{name}: {parsed.summary}", code="points-invalid", hint=_HINT, details=parsed.details)
    return parsed


def _text(file: str) -> str:
    """At most one character more than is allowed: an endless stream ends too. Spreadsheets begin with a mark of the
    byte order, which is no part of the text.
    """
    try:
        if file == STDIN:
            text = sys.stdin.read(SIZE_LIMIT_BYTES + 1).removeprefix("\ufeff")
        else:
            with Path(file).expanduser().open(encoding="utf-8-sig") as opened:
                text = opened.read(SIZE_LIMIT_BYTES + 1)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text: {error.reason}", code="points-invalid", hint=_HINT) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"{file} cannot be read: {reason}", code="file-unreadable", hint="give a file, or -"
        ) from error
    if len(text) > SIZE_LIMIT_BYTES:
        raise UsageError(f"{file} is larger than 64 MiB", code="points-invalid", hint="split it into several files")
    return text


def _document(name: str, text: str) -> Any:
    try:
        return read_json(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON: {error}", code="points-invalid", hint=_HINT) from error


def _group(group: GroupScore) -> dict[str, Any]:
    return {name: _finite(value) for name, value in asdict(group).items()}


def _rows(rows: tuple[ScoredRow, ...]) -> list[dict[str, Any]]:
    return [
        {"id": row.id, "measured": row.measured, "estimate": _finite(row.estimate), "low": _finite(row.low),
         "high": _finite(row.high)}
        for row in rows
    ]  # fmt: skip


def _finite(value: float | None) -> float | None:
    """JSON has no infinity: an interval that ends nowhere has no number."""
    return None if value is None or not math.isfinite(value) else value
