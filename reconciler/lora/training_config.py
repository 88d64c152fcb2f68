"""Two settings of a training configuration that decide whether a corpus suits it.

Source:
    section 5.2 of the specification of the origin's commands, which scans lines; ours reads YAML (JSON is YAML).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from reconciler.errors import UsageError
from reconciler.lora.dialect import Dialect

MOST_BYTES = 2**18
_MOST_VALUES = 100_000
_LENGTH = "max_seq_length"
_RATIO = "min_fit_ratio"
_NAMES = {_LENGTH: (_LENGTH, "max_length"), _RATIO: (_RATIO,)}
"""TRL calls the length ``max_length`` since it renamed it."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What the configuration says. None: nothing."""

    max_seq_length: int | None = None
    """Tokens."""
    min_fit_ratio: float | None = None


def read_training_config(content: bytes, name: str, dialect: Dialect) -> TrainingConfig:
    """The two settings, wherever in the file they stand.

    Args:
        content: the file.
        name: for messages.
        dialect: whether lines are scanned, the last one counting, or YAML is read, where a key may stand in several
            places with one value only.

    Raises:
        UsageError: it is no text or no YAML, a value is no number of its kind, or one key has two values.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(f"{name} is not UTF-8 text: {error.reason}") from error
    found = _scanned(text) if dialect.scans_config_lines else _read(text, name)
    length, ratio = found.get(_LENGTH), found.get(_RATIO)
    return TrainingConfig(
        None if length is None else _whole(length, name), None if ratio is None else _share(ratio, name)
    )


def _scanned(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in text.splitlines():
        key, colon, value = line.partition("#")[0].strip().partition(":")
        if colon and key.strip() in (_LENGTH, _RATIO):
            found[key.strip()] = value.strip().strip('"').strip("'")
    return found


def _read(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise _invalid(f"{name} is not YAML{place}") from error
    found: dict[str, Any] = {}
    for key, value in _pairs(document):
        setting = next((one for one, names in _NAMES.items() if key in names), None)
        if setting is None or value is None:
            continue
        plain = value if isinstance(value, str | int | float) else f"a {type(value).__name__}"  # aliases may nest in it
        if setting in found and found[setting] != plain:
            raise _invalid(f"{name} says {setting} twice: {found[setting]!r:.60} and {plain!r:.60}")
        found[setting] = plain
    return found


def _pairs(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every key with its value, however deep; what aliases repeat is seen once."""
    waiting, seen = [document], {id(document)}
    while waiting and len(seen) < _MOST_VALUES:
        here = waiting.pop()
        pairs = list(here.items()) if isinstance(here, dict) else []
        yield from pairs
        inner = [value for _, value in pairs] if pairs else (list(here) if isinstance(here, list) else [])
        new = [value for value in inner if isinstance(value, dict | list) and id(value) not in seen]
        seen.update(id(value) for value in new)
        waiting += new


def _whole(value: Any, name: str) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if type(number) is not int or number <= 0:
        raise _invalid(f"{name}: {_LENGTH} is {value!r:.60}; a number of tokens is a whole number above 0")
    return number


def _share(value: Any, name: str) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not isfinite(number) or not 0 <= number <= 1:
        raise _invalid(f"{name}: {_RATIO} is {value!r:.60}; a share is a number from 0 to 1")
    return number


def _invalid(message: str) -> UsageError:
    return UsageError(message, code="training-config-invalid", hint="it needs max_seq_length and min_fit_ratio, if any")
