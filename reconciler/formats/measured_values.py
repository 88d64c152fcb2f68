"""Values of one cell of a table that people submit, each read by what its column is about."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_NAME_LENGTH = 500
_TEXT_LENGTH = 2000
_SHOWN_LENGTH = 60
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})(e[+-]?\d{1,3})?", re.IGNORECASE | re.ASCII)
_LEAST, _MOST = 1e-6, 1e9
"""Between which an amount is one, whatever its unit: beyond them it is a slip, or no machine's."""
_MOST_BILLIONS = 1e6
"""10⁹ weights: a thousand times the largest model anybody released."""
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a value is none of its column."""

    why: str


Reader = Callable[[object], object]
"""From what stands in a cell to its value, None for unknown, or why it is neither."""


def number_of(value: object) -> float | None:
    """A finite number, also where somebody quoted it."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return _finite(float(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(value)
    return None


def _finite(value: float) -> float | None:
    """Whole numbers of JSON have no bound, those of the machine have."""
    return float(value) if -_MOST * _MOST < value < _MOST * _MOST else None


def unread(value: object, must: str) -> Unread:
    """What was found and what is allowed; the value itself only where it is short."""
    simple = isinstance(value, str | int | float) or value is None
    shown = repr(value) if simple and (not isinstance(value, int) or abs(value) < 10**_SHOWN_LENGTH) else ""
    return Unread(f"must be {must}" + (f"; found {shown}" if 0 < len(shown) <= _SHOWN_LENGTH else ""))


def name(value: object) -> str | Unread:
    """A text that says something; a number is one, too."""
    found = text(value)
    return found[:_NAME_LENGTH] if isinstance(found, str) else unread(value, "a text that is not empty")


def text(value: object) -> str | Unread | None:
    """A text without what no terminal can show; None where it is blank."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return unread(value, "a text")
    if isinstance(value, int) and abs(value) > _MOST * _MOST:
        return unread(value, "a text")
    written = value if isinstance(value, str) else str(value)
    return written[:_TEXT_LENGTH].encode("utf-8", "replace").decode("utf-8").strip() or None


def remark(value: object) -> str | Unread | None:
    """A text, or only whether there is something to say."""
    if isinstance(value, bool):
        return "not said why" if value else None
    return text(value)


def flag(value: object) -> bool | Unread:
    """A truth value, as JSON, Python or a command line spells it."""
    if number_of(value) in (0.0, 1.0):
        return number_of(value) == 1.0
    known = _FLAGS.get(str(value).strip().lower()) if isinstance(value, str | bool) else None
    return unread(value, "true or false") if known is None else known


def whole(value: object) -> int | Unread:
    """A count, never negative; means of several runs are rounded."""
    number = number_of(value)
    return round(number) if number is not None and 0 <= number <= _MOST else unread(value, "a count of 0 or more")


def parameters(value: object) -> float | Unread:
    """10⁹ weights of a model."""
    number = number_of(value)
    if number is None or not _LEAST <= number <= _MOST_BILLIONS:
        return unread(value, "a positive number of 10⁹ weights")
    return number


def measurement(value: object) -> float | Unread | None:
    """What somebody measured; 0 is what programs write that measured nothing."""
    number = number_of(value)
    if number == 0:
        return None
    return number if number is not None and _LEAST <= number <= _MOST else unread(value, "a positive number")


def capacity(value: object) -> float | Unread | None:
    """What a device or a model has of something, a positive number that estimates can take; 0 is unknown."""
    number = measurement(value)
    return unread(value, "a positive number") if isinstance(number, float) and number > _MOST_BILLIONS else number
