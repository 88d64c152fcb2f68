"""Which modules a configuration means: lists of names, or a stranger's regular expression, tried within a budget.

A regular expression from a file can take for ever on a name of a hundred characters. The cost of one is therefore
estimated before it runs, from above; one that could be too dear is not tried, and its answer is *not known*.

Source:
    peft 0.21.2 ``tuners/tuners_utils.py`` (``check_target_module_exists``), ``utils/other.py`` (``get_pattern_key``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import factorial
from warnings import catch_warnings, simplefilter

_STEPS_AT_MOST = 200_000_000
_PATTERN_LIMIT = 4000
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escape, or a class of characters."""
_COUNTED = re.compile(r"\{\d*,?\d*\}")


def has_name(module: str, names: Iterable[str]) -> bool:
    """Whether a module is meant by one of these names: its whole path, or the end of it."""
    return any(module == name or module.endswith(f".{name}") for name in names)


class Pattern:
    """A foreign regular expression."""

    def __init__(self, text: str) -> None:
        self._compiled: re.Pattern[str] | None = None
        self._repeats, self._choices = 0, 0
        plain = _plain(text)
        if plain is None:
            return
        self._repeats = plain.count("*") + plain.count("+") + len(_COUNTED.findall(plain))
        self._choices = plain.count("?") + plain.count("|")
        try:
            with catch_warnings():
                simplefilter("ignore")  # what its author should have written otherwise is not our reader's concern
                self._compiled = re.compile(text)
        except (re.error, OverflowError, RecursionError):
            self._compiled = None

    def can_be_tried(self, names: Sequence[str]) -> bool:
        """Whether trying it on all of these ends soon, whatever it is."""
        if self._compiled is None or self._choices > 64 or self._repeats > 8:
            return False
        steps = sum(pow(max(1, len(name)), self._repeats) for name in names) / factorial(self._repeats)
        return bool(steps <= _STEPS_AT_MOST)

    def fits(self, name: str) -> bool:
        """Whether the whole name matches."""
        return bool(self._compiled and self._compiled.fullmatch(name))


def _plain(text: str) -> str | None:
    """Without escapes and classes; None where repeats could multiply: repeated groups, references, options in a row."""
    if len(text) > _PATTERN_LIMIT or re.search(r"\\[1-9]|\(\?P=|\(\?\(", text):
        return None
    plain = _ATOM.sub("c", text).replace("*?", "*").replace("+?", "+").replace("}?", "}").replace("??", "?")
    plain = re.sub(r"\(\?(?:[:=!>]|<[=!]|P?<\w+>|[a-zA-Z-]+[:)])", "(", plain)
    if re.search(r"\)[*+{]", plain) or len(re.findall(r"\?", plain)) > 10:
        return None
    return plain
