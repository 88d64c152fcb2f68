"""Everything that is wrong in one document that somebody gave us: the first flaws with their places, and how many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from reconciler.errors import Problem

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Flawed:
    """Why a document was refused: nothing of it is used."""

    problems: tuple[Problem, ...]
    """The first 20, each with its path, such as ``observations[3].value``."""
    count: int
    """How many there are in all."""

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> Flawed:
        """These, at least one, in their order."""
        return cls(tuple(problems[:_SHOWN]), len(problems))

    @property
    def summary(self) -> str:
        """The first flaw with its place, and how many more there are."""
        first = self.problems[0]
        return f"{first.path}: {first.message}" + (f" (and {self.count - 1} more)" if self.count > 1 else "")

    @property
    def details(self) -> dict[str, object]:
        """The flaws for ``error.details``."""
        return {"problems": [{"path": each.path, "message": each.message} for each in self.problems]}


def problems_of(error: ValidationError, place: str = "") -> Iterator[Problem]:
    """What pydantic refused, each with its path from ``place`` on; ``document`` is the whole."""
    for flaw in error.errors(include_url=False, include_context=False):
        yield Problem(
            f"{place}{_path(flaw['loc'])}".lstrip(".") or "document", _message(cast("Mapping[str, Any]", flaw))
        )


def _path(location: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _message(flaw: Mapping[str, Any]) -> str:
    """What was found and what is allowed; the value itself only where it is short."""
    found = flaw["input"]
    shown = f"; found {found!r}" if isinstance(found, str | int | float) and len(repr(found)) <= 60 else ""
    return f"{flaw['msg']}{shown}"
