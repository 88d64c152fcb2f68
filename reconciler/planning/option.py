"""One candidate on one target for one slot: what could fill it, or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from reconciler.domain.artifact import Artifact
from reconciler.domain.desired import Target
from reconciler.domain.estimate import Assessment, Candidate, KvCache
from reconciler.domain.observation import HubNeed, Installed, RegistryNeed, Resolved
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import Bytes
from reconciler.planning.trust import PolicyReason

RejectionReason = Literal[
    PolicyReason,
    "wrong-line",
    "capability-unknown",
    "context-too-long",
    "not-installable-here",
    "quant-below-floor",
    "quant-not-known",
    "quant-not-accepted",
    "too-large",
    "does-not-fit",
    "too-slow",
    "no-room",
    "unavailable",
]

FORBIDDEN: frozenset[str] = frozenset(get_args(PolicyReason))
"""Rejections by the policy: such a model may not be here at all."""

BY_THE_FILE: frozenset[str] = FORBIDDEN | {"quant-not-accepted", "too-large"}
"""Rejections that the file itself states: an incumbent that meets one needs no approval to be replaced."""


@dataclass(frozen=True, slots=True)
class Option:
    """A candidate that may fill the slot on this target."""

    target: Target
    assessment: Assessment
    name: str
    """Canonical on the target; provisional while the files are not resolved."""
    context: int
    """Tokens it is planned with."""
    need: HubNeed | RegistryNeed | None
    """What must be asked before it can be fetched; None for an advisory target."""
    answer: Resolved | None = None
    installed: Installed | None = None
    entry: RecordEntry | None = None
    """Our record of it on this target."""
    revision: str | None = None
    context_is_max: bool = False
    """The slot asks for the longest context that fits, and ``context`` is that."""
    kv_cache: KvCache = "f16"
    parallel: int = 1

    @property
    def candidate(self) -> Candidate:
        return self.assessment.candidate

    @property
    def artifact(self) -> Artifact | None:
        return self.answer.artifact if self.answer else None

    @property
    def bytes(self) -> Bytes:
        """What it takes on disk: as installed, else as resolved, else as the catalogue says."""
        if self.installed is not None:
            return self.installed.bytes
        return self.artifact.bytes if self.artifact else self.candidate.bytes

    @property
    def variant(self) -> tuple[str, str]:
        return self.candidate.model.id, self.candidate.quant

    @property
    def place(self) -> tuple[str, str]:
        """(target, name): two slots with one place share one install."""
        return self.target.name, self.name


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that may not fill the slot on this target, and why."""

    candidate: Candidate
    target: Target
    reason: RejectionReason
    message: str
    """One sentence with the numbers."""
    assessment: Assessment | None = None
    """Present once the numbers were computed."""
    context: int | None = None
    """Tokens they were computed for."""
