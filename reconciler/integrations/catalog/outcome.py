"""Whom a refresh asks, and how it went: what a run that asks nobody needs of it too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.domain.desired import Pool
from reconciler.domain.names import OLLAMA_LIBRARY

NOT_ON_THE_HUB = frozenset({OLLAMA_LIBRARY})


def organisations(pool: Pool) -> tuple[str, ...]:
    """Whose repositories are worth asking for, publishers first; none where no publisher is allowed."""
    if not pool.allowed_orgs:
        return ()
    return tuple(dict.fromkeys(org for org in (*pool.allowed_orgs, *pool.packagers) if org not in NOT_ON_THE_HUB))


@dataclass(slots=True)
class Outcome:
    """How a refresh went so far; read it even after it was cut short."""

    answered: set[str] = field(default_factory=set)
    """Organisations whose list came."""
    failures: dict[str, list[str]] = field(default_factory=dict)
    """What went wrong, with whom."""
    notes: list[str] = field(default_factory=list)
    retry_after_seconds: float | None = None
    """The Hub asked for a pause: nothing more is asked."""


def failure_notes(outcome: Outcome) -> Iterable[str]:
    """One sentence per kind of failure, with everybody it concerns."""
    for message, whom in outcome.failures.items():
        yield f"{', '.join(dict.fromkeys(whom))}: {message}"
