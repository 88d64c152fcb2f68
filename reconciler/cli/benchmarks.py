"""The observations that a person added: kept in the data directory, because they are theirs and no cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reconciler.cli.places import BENCHMARKS_FILE
from reconciler.domain.catalog import BenchmarkObservation
from reconciler.errors import Refused
from reconciler.formats.flaws import Flawed
from reconciler.formats.observation_file import parse_observations


def added_observations(data: Path) -> tuple[BenchmarkObservation, ...]:
    """What was added so far, in the format of ``docs/benchmarks-format.md``.

    Raises:
        Refused: code ``benchmarks-invalid``: somebody damaged the file.
    """
    path = data / BENCHMARKS_FILE
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    parsed = parse_observations(document)
    if isinstance(parsed, Flawed):
        raise _damaged(path, f"{parsed.problems[0].path}: {parsed.problems[0].message}")
    return parsed


def keep_observations(data: Path, before: Iterable[BenchmarkObservation], new: Iterable[BenchmarkObservation]) -> int:
    """Add to what is kept; one of the same thing by the same source replaces the older.

    Returns:
        How many are kept now.
    """
    from reconciler.cli.writing import write_text

    kept = {_identity(one): one for one in (*before, *new)}
    rows = [_row(kept[key]) for key in sorted(kept)]
    data.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"formatVersion": 1, "observations": rows}, ensure_ascii=False, indent=1) + "\n"
    write_text(data / BENCHMARKS_FILE, text, what="the observations", option="data directory (LOCALMODELS_DATA_DIR)")
    return len(kept)


def _identity(one: BenchmarkObservation) -> tuple[str, ...]:
    """As a catalogue takes them in: a newer one of the same thing by the same source replaces the older."""
    words = (one.model, one.benchmark, one.source, one.release, one.variant, one.quant)
    return tuple(word or "" for word in words)


def _row(one: BenchmarkObservation) -> dict[str, Any]:
    row = {
        "model": one.model,
        "benchmark": one.benchmark,
        "value": one.value,
        "scale": one.scale,
        "source": one.source,
        "observedAt": one.observed_at.isoformat(),
        "evidence": one.evidence,
        "quant": one.quant,
        "release": one.release,
        "variant": one.variant,
    }
    return {key: value for key, value in row.items() if value is not None}


def _damaged(path: Path, why: str) -> Refused:
    return Refused(
        f"the observations that were added cannot be read: {path}: {why}",
        code="benchmarks-invalid",
        hint="mend the file, or move it away and add them again with catalog refresh --benchmarks",
    )
