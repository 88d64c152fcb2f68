"""Which modules a configuration means: lists of names, or a stranger's regular expression, tried within a budget.

A regular expression from a file can take for ever on a name of a hundred characters. The cost of one is therefore
estimated before it runs, from above; one that could be too dear is not tried, and its answer is *not known*.

Source:
    peft 0.21.2 ``tuners/tuners_utils.py`` (``check_target_module_exists``), ``utils/other.py`` (``get_pattern_key``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import factorial, prod
from warnings import catch_warnings, simplefilter

_STEPS_AT_MOST = 200_000_000
_PATTERN_LIMIT = 4000
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escape, or a class of characters."""
_COUNTED = re.compile(r"\{\d*,?\d*\}")
_MAY_BE_0 = frozenset("?*{")
"""What says that the letter before it need not be there."""


def has_name(module: str, names: Iterable[str]) -> bool:
    """Whether a module is meant by one of these names: its whole path, or the end of it."""
    return any(module == name or module.endswith(f".{name}") for name in names)


class Pattern:
    """A foreign regular expression."""

    def __init__(self, text: str) -> None:
        self._compiled: re.Pattern[str] | None = None
        self._repeats, self._ways = 0, 1
        plain = _plain(text)
        if plain is None:
            return
        self._repeats = plain.count("*") + plain.count("+") + len(_COUNTED.findall(plain))
        self._ways = _ways(plain)
        try:
            with catch_warnings():
                simplefilter("ignore")  # what its author should have written otherwise is not our reader's concern
                self._compiled = re.compile(text)
        except (re.error, OverflowError, RecursionError):
            self._compiled = None

    def can_be_tried(self, names: Sequence[str]) -> bool:
        """Whether trying it on all of these ends soon, whatever it is."""
        if self._compiled is None or self._ways > _STEPS_AT_MOST or self._repeats > 8:
            return False
        steps = sum(pow(max(1, len(name)), self._repeats) for name in names) / factorial(self._repeats)
        return bool(steps * self._ways <= _STEPS_AT_MOST)

    def fits(self, name: str) -> bool:
        """Whether the whole name matches."""
        return bool(self._compiled and self._compiled.fullmatch(name))


def _plain(text: str) -> str | None:
    """With ``.`` for every escape and class; None where nothing here could count it.

    That is: repeated groups, references, conditions, comments, blanks without a meaning, many options.
    """
    if len(text) > _PATTERN_LIMIT or re.search(r"\\[1-9]|\(\?(?:P=|\(|#|[a-wyzA-Z-]*x)", text):
        return None
    plain = _ATOM.sub(".", text).replace("*?", "*").replace("+?", "+").replace("}?", "}").replace("??", "?")
    plain = re.sub(r"\(\?(?:[:=!>]|<[=!]|P?<\w+>|[a-zA-Z-]+[:)])", "(", plain)
    if re.search(r"\)[*+{]", plain) or len(re.findall(r"\?", plain)) > 10:
        return None
    return plain


@dataclass(slots=True)
class _Branch:
    """What stands between two bars."""

    first: str = ""
    """The letter that it begins with; empty: it may begin with another, or with nothing."""
    ways: list[int] = field(default_factory=list)
    """Of each part."""


def _ways(plain: str) -> int:
    """How many ways lead through the choices and options of a pattern, at most; repeats are counted apart.

    What stands behind each other multiplies. Branches add up, unless their first letters differ: of those, one at most
    is right for a place in a name.

    >>> _ways("(ab|ac)(ab|ac)d?"), _ways("(q|k|v)_proj(a|b)")
    (8, 1)
    """
    groups = [[_Branch()]]
    for place, sign in enumerate(plain):
        branch = groups[-1][-1]
        if sign == "(":
            groups.append([_Branch()])
        elif sign == "|":
            groups[-1].append(_Branch())
        elif sign == ")" and len(groups) > 1:
            inner = _ways_of(groups.pop())
            groups[-1][-1].ways.append(inner)
        elif sign == "?" and branch.ways:
            branch.ways[-1] += 1
        else:
            is_first = (
                not branch.ways and (sign.isalnum() or sign == "_") and plain[place + 1 : place + 2] not in _MAY_BE_0
            )
            branch.first = sign.casefold() if is_first else branch.first
            branch.ways.append(1)
    return prod(_ways_of(group) for group in groups)


def _ways_of(branches: Sequence[_Branch]) -> int:
    ways, firsts = [prod(branch.ways) for branch in branches], {branch.first for branch in branches}
    return max(ways) if len(firsts) == len(branches) and "" not in firsts else sum(ways)
