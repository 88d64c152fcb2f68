"""Files of measured speed and memory points: parsed JSON in, points or every flaw out.

A table: ``columns`` names them, each of ``rows`` has one value per column. Only ``id``, ``hardware``, ``model`` and
``params_b`` must be there; other columns that a file lacks are unknown for its rows, columns nobody here knows are
left alone.

People submit such tables, so a value that cannot be read in a column that may be unknown *is* unknown, and is counted;
a row is refused only where nothing could be said about it, or where what was measured is no measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.errors import Problem
from reconciler.formats.flaws import Flawed, problems_of
from reconciler.formats.measured_values import (
    Reader,
    Unread,
    capacity,
    flag,
    measurement,
    name,
    parameters,
    remark,
    text,
    whole,
)

ROW_LIMIT = 500_000
_WITH_PROMPT = 3
"""``tps_def`` of a file without ``tps_defs``: output tokens over wall time, a short prompt included."""


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """One run of one model on one machine, as somebody submitted it. None: the file does not say."""

    id: str
    hardware: str
    model: str
    params_b: float
    """10⁹ weights in all."""
    hw_class: str | None = None
    """``DISCRETE_GPU`` · ``UNIFIED`` · ``CPU_ONLY``."""
    mem_gb: float | None = None
    """Of the device, in whatever gigabyte the submitter meant."""
    bw_gbps: float | None = None
    """Theoretical peak, 10⁹ bytes a second."""
    engine: str | None = None
    backend: str | None = None
    active_params_b: float | None = None
    moe: bool | None = None
    """Whether it is a mixture of experts."""
    quant: str | None = None
    bytes_per_weight_nominal: float | None = None
    kv_dtype: str | None = None
    flash_attn: bool | None = None
    gpu_layers: int | None = None
    offload: str | None = None
    prompt_tokens: int | None = None
    gen_tokens: int | None = None
    context: int | None = None
    """As submitted: not what was allocated."""
    ctx_alloc: int | None = None
    """Tokens of cache really allocated."""
    decode_tps: float | None = None
    """Tokens a second, defined by ``tps_def``."""
    prefill_tps: float | None = None
    ttft_ms: float | None = None
    peak_mem_gb: float | None = None
    likely_spill: bool = False
    """Part of the model was outside the device's memory."""
    tps_def: int | None = None
    date: str | None = None
    params_src: str | None = None
    suspect: str | None = None
    """Why the value is probably not what the row says."""
    with_prompt: bool = False
    """``decode_tps`` is output tokens over wall time, the prompt's time included."""


@dataclass(frozen=True, slots=True)
class PointsRead:
    """What a file held."""

    points: tuple[MeasuredPoint, ...]
    """In its order."""
    warnings: tuple[str, ...] = ()
    """At most one: how many values could not be read, with an example."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore")

    columns: Annotated[list[Annotated[str, Field(min_length=1, max_length=500)]], Field(min_length=1, max_length=1000)]
    rows: Annotated[list[list[Any]], Field(max_length=ROW_LIMIT)]
    tps_defs: Any = None


_REQUIRED: Mapping[str, Reader] = MappingProxyType(
    {"id": name, "hardware": name, "model": name, "params_b": parameters}
)
_MEASURED: Mapping[str, Reader] = MappingProxyType({"decode_tps": measurement, "peak_mem_gb": measurement})
"""May be unknown, must be a measurement where they are not."""
_OPTIONAL: Mapping[str, Reader] = MappingProxyType(
    dict.fromkeys(("hw_class", "engine", "backend", "quant", "kv_dtype", "offload", "date", "params_src"), text)
    | dict.fromkeys(("gpu_layers", "prompt_tokens", "gen_tokens", "context", "ctx_alloc", "tps_def"), whole)
    | dict.fromkeys(("mem_gb", "bw_gbps", "active_params_b"), capacity)
    | dict.fromkeys(("bytes_per_weight_nominal", "prefill_tps", "ttft_ms"), measurement)
    | dict.fromkeys(("moe", "flash_attn", "likely_spill"), flag)
    | {"suspect": remark}
)
_COLUMNS = frozenset(field.name for field in fields(MeasuredPoint)) - {"with_prompt"}


def parse_points(document: object) -> tuple[MeasuredPoint, ...] | Flawed:
    """The points of one document, in its order; or its flaws."""
    found = read_points(document)
    return found if isinstance(found, Flawed) else found.points


def read_points(document: object) -> PointsRead | Flawed:
    """The points of one document, in its order, with what could not be read of them; or its flaws."""
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        return Flawed.of(list(problems_of(error)))
    wrong = list(_column_problems(parsed.columns))
    if wrong:
        return Flawed.of(wrong)
    points: list[MeasuredPoint] = []
    unread: list[Problem] = []
    for number, row in enumerate(parsed.rows):
        found = _point(f"rows[{number}]", row, parsed, unread)
        if isinstance(found, MeasuredPoint):
            points.append(found)
        else:
            wrong += found
    return Flawed.of(wrong) if wrong else PointsRead(tuple(points), _warnings(unread))


def _warnings(unread: list[Problem]) -> tuple[str, ...]:
    if not unread:
        return ()
    first, many = unread[0], len(unread)
    values = "1 value could not be read and counts" if many == 1 else f"{many} values could not be read and count"
    return (f"{values} as unknown, such as {first.path}: {first.message}",)


def _column_problems(columns: list[str]) -> Iterable[Problem]:
    for required in _REQUIRED:
        if required not in columns:
            yield Problem("columns", f"{required} is missing")
    for twice in sorted({column for column in columns if columns.count(column) > 1}):
        yield Problem("columns", f"{twice} stands there more than once")


def _point(place: str, row: list[Any], document: _Document, unread: list[Problem]) -> MeasuredPoint | list[Problem]:
    if len(row) != len(document.columns):
        return [Problem(place, f"has {len(row)} values for {len(document.columns)} columns")]
    given = {column: value for column, value in zip(document.columns, row, strict=True) if column in _COLUMNS}
    wrong: list[Problem] = []
    values = _read(place, given, _REQUIRED, wrong)
    values |= _read(place, _present(given), _MEASURED, wrong)
    values |= _read(place, _present(given), _OPTIONAL, unread)
    if wrong:
        return wrong
    values["likely_spill"] = bool(values.get("likely_spill"))
    return MeasuredPoint(**values, with_prompt=_includes_prompt(values.get("tps_def"), document.tps_defs))


def _present(given: Mapping[str, object]) -> dict[str, object]:
    """Null is unknown, and nothing has to be said about it."""
    return {column: value for column, value in given.items() if value is not None}


def _read(
    place: str, given: Mapping[str, object], readers: Mapping[str, Callable[[object], Any]], flaws: list[Problem]
) -> dict[str, Any]:
    """The values of these columns; one that cannot be read is a flaw, and not there."""
    found: dict[str, Any] = {}
    for column, value_given in given.items():
        if column not in readers:
            continue
        value = readers[column](value_given)
        if isinstance(value, Unread):
            flaws.append(Problem(f"{place}.{column}", value.why))
        else:
            found[column] = value
    return found


def _includes_prompt(definition: int | None, definitions: object) -> bool:
    if definition is not None and isinstance(definitions, list) and definition < len(definitions):
        return "wall time" in str(definitions[definition])
    return definition == _WITH_PROMPT
