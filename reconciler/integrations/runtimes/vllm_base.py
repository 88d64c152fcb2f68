"""The base that a vLLM serves, under all the names it goes by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.integrations.runtimes.vllm_api import Card

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class ServedBase:
    """One base: its weights are what the server was started with."""

    name: str
    """Canonical: the Hub repository, else what it is served as."""
    root: str
    names: tuple[str, ...]
    """That requests use (``--served-model-name``), the first one first."""
    repo: str | None
    context: int | None

    @property
    def other_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name != self.name)

    def is_called(self, name: str) -> bool:
        return name in (self.name, self.root, *self.names)


def base_of(cards: Sequence[Card]) -> ServedBase:
    """The base in a whole list; it has one card for each of its names.

    >>> base_of([Card("coder", "Qwen/Qwen3-8B", None, 4096), Card("sql", "/a", "coder", None)]).name
    'Qwen/Qwen3-8B'
    """
    first = cards[0]
    names = tuple(dict.fromkeys(card.name for card in cards if card.parent is None))
    repo = first.root if is_repository(first.root) else None
    return ServedBase(name=repo or first.name, root=first.root, names=names, repo=repo, context=first.context)


def is_repository(text: str) -> bool:
    """Whether this is spelled as ``organisation/name``, and not as a path.

    >>> is_repository("Qwen/Qwen3-8B"), is_repository("/models/qwen"), is_repository("./a/b")
    (True, False, False)
    """
    return _REPOSITORY.fullmatch(text) is not None
