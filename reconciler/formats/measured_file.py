"""Files of measured speed and memory points: parsed JSON in, points or every flaw out.

A table: ``columns`` names them, each of ``rows`` has one value per column. Only ``id``, ``hardware``, ``model`` and
``params_b`` must be there; other columns that a file lacks are unknown for its rows, columns nobody here knows are
left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from reconciler.errors import Problem
from reconciler.formats.flaws import Flawed, problems_of

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
    moe: bool = False
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


def _number(value: object) -> object:
    """Texts and truth values are no numbers, however they read."""
    if isinstance(value, str | bool):
        msg = "must be a number"
        raise ValueError(msg)  # noqa: TRY004 - pydantic collects ValueError
    return value


def _no(value: object) -> object:
    return False if value is None else value


_Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
_Amount = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
_Whole = Annotated[int, BeforeValidator(_number), Field(ge=0, le=2**53)]
_Flag = Annotated[bool, Field(strict=True), BeforeValidator(_no)]
_Text = Annotated[str, Field(max_length=2000)]
_Name = Annotated[str, Field(min_length=1, max_length=500)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: _Name
    hardware: _Name
    model: _Name
    params_b: _Positive
    hw_class: _Text | None = None
    mem_gb: _Positive | None = None
    bw_gbps: _Positive | None = None
    engine: _Text | None = None
    backend: _Text | None = None
    active_params_b: _Positive | None = None
    moe: _Flag = False
    quant: _Text | None = None
    bytes_per_weight_nominal: _Positive | None = None
    kv_dtype: _Text | None = None
    flash_attn: Annotated[bool, Field(strict=True)] | None = None
    gpu_layers: _Whole | None = None
    offload: _Text | None = None
    prompt_tokens: _Whole | None = None
    gen_tokens: _Whole | None = None
    context: _Whole | None = None
    ctx_alloc: _Whole | None = None
    decode_tps: _Positive | None = None
    prefill_tps: _Positive | None = None
    ttft_ms: _Amount | None = None
    peak_mem_gb: _Positive | None = None
    likely_spill: _Flag = False
    tps_def: _Whole | None = None
    date: _Text | None = None
    params_src: _Text | None = None
    suspect: _Text | None = None


class _Document(BaseModel):
    model_config = ConfigDict(extra="ignore")

    columns: Annotated[list[_Name], Field(min_length=1, max_length=1000)]
    rows: Annotated[list[list[Any]], Field(max_length=ROW_LIMIT)]
    tps_defs: list[_Text] | None = None


_REQUIRED = tuple(name for name, field in _Row.model_fields.items() if field.is_required())
_COPIED = tuple(field.name for field in fields(MeasuredPoint) if field.name in _Row.model_fields)


def parse_points(document: object) -> tuple[MeasuredPoint, ...] | Flawed:
    """The points of one document, in its order; or its flaws."""
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        return Flawed.of(list(problems_of(error)))
    wrong = list(_column_problems(parsed.columns))
    if wrong:
        return Flawed.of(wrong)
    points: list[MeasuredPoint] = []
    for number, row in enumerate(parsed.rows):
        found = _point(number, row, parsed)
        if isinstance(found, MeasuredPoint):
            points.append(found)
        else:
            wrong += found
    return Flawed.of(wrong) if wrong else tuple(points)


def _column_problems(columns: list[str]) -> Iterable[Problem]:
    for name in _REQUIRED:
        if name not in columns:
            yield Problem("columns", f"{name} is missing")
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        yield Problem("columns", f"{name} stands there more than once")


def _point(number: int, row: list[Any], document: _Document) -> MeasuredPoint | list[Problem]:
    place = f"rows[{number}]"
    if len(row) != len(document.columns):
        return [Problem(place, f"has {len(row)} values for {len(document.columns)} columns")]
    try:
        read = _Row.model_validate(dict(zip(document.columns, row, strict=True)))
    except ValidationError as error:
        return list(problems_of(error, place))
    values = {name: getattr(read, name) for name in _COPIED}
    return MeasuredPoint(**values, with_prompt=_includes_prompt(read.tps_def, document.tps_defs))


def _includes_prompt(definition: int | None, definitions: list[str] | None) -> bool:
    if definition is not None and definitions is not None and definition < len(definitions):
        return "wall time" in definitions[definition]
    return definition == _WITH_PROMPT
