"""The observations that a person added: kept in the data directory, because they are theirs and no cache."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

from reconciler.cli.places import BENCHMARKS_FILE
from reconciler.domain.catalog import BenchmarkObservation, CatalogModel
from reconciler.domain.names import nearest
from reconciler.errors import Refused
from reconciler.formats.flaws import Flawed
from reconciler.formats.foreign_json import read_json
from reconciler.formats.observation_file import parse_observations
from reconciler.ranking.evidence import plain_id


def added_observations(data: Path) -> tuple[BenchmarkObservation, ...]:
    """What was added so far, in the format of ``docs/benchmarks-format.md``.

    Raises:
        Refused: code ``benchmarks-invalid``: somebody damaged the file.
    """
    path = data / BENCHMARKS_FILE
    try:
        document = read_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _damaged(path, error.strerror or type(error).__name__) from error
    except (ValueError, RecursionError) as error:
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


def refuse_future(new: Iterable[BenchmarkObservation], today: date) -> None:
    """Refuse what was observed after tomorrow: it would never age.

    Raises:
        Refused: code ``benchmarks-invalid``.
    """
    late = next((one for one in new if (one.observed_at - today).days > 1), None)
    if late is not None:
        raise Refused(
            f"{late.benchmark} of {late.model} was observed on {late.observed_at}, and today is {today}",
            code="benchmarks-invalid",
            hint="observedAt is the day on which it was measured",
        )


def strangers(new: Iterable[BenchmarkObservation], models: Iterable[CatalogModel]) -> tuple[str, ...]:
    """Models that the catalogue does not know, each with what may be meant: what was observed counts nothing."""
    known = {plain_id(model.id): model.id for model in models}
    names = sorted({one.model for one in new if plain_id(one.model) not in known})
    meant = {name: nearest(name, known.values(), limit=1) for name in names}
    return tuple(f"{name} (did you mean {meant[name][0]}?)" if meant[name] else name for name in names)


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
