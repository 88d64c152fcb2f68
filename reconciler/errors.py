"""Every exception of localmodels, in one tree.

ReconcilerError                message · code · hint · details · retryable · retry_after_seconds
├── UsageError                 the command line was wrong
├── DesiredStateError          the user's file: not found, not valid; carries every problem with its place
├── PlanningError
│   ├── StalePlan              the world moved since the plan was saved; carries what moved
│   └── TamperedPlan           recomputing the plan from its observation gives another plan
├── OutsideError               raised by integrations only
│   ├── Unreachable            retryable: refused, timed out, 5xx, 429 with its delay
│   ├── Refused                not retryable: unauthorised, gated, unknown model, unsupported
│   ├── Corrupt                digest or size did not match; the partial file is gone
│   └── OutOfSpace             the disk is full, or would be; partial files are kept for resuming
└── RecordError
    ├── RecordLocked           another run holds the lock; carries its owner and age
    ├── RecordUnreadable       set aside, never overwritten; carries the path
    └── RecordConflict         the record belongs to another file

Two kinds of code: ``code`` is one of the closed list documented in ``docs/errors.md`` and is stable API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class ReconcilerError(Exception):
    """What happened, whether it can be retried, what a person should do."""

    default_code: ClassVar[str] = "internal"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_seconds = retry_after_seconds


class UsageError(ReconcilerError):
    """The command line asks for something that does not exist or contradicts itself."""

    default_code = "usage"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: where, what was found, what is allowed."""

    path: str
    """The key's path, such as ``localModels.pool.diskBudget``."""
    message: str
    """What was found and what is allowed, in one sentence."""
    line: int | None = None
    """Counted from 1."""
    column: int | None = None
    """Counted from 1."""
    hint: str | None = None
    """The nearest key, or the line to write instead."""
    file: str | None = None
    """The file it is in, where one error is about several."""


class DesiredStateError(ReconcilerError):
    """The user's file is missing or not valid. Every problem of the file in one error."""

    default_code = "desired-state-invalid"

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        problems: Sequence[Problem] = (),
        code: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint, details={"file": file})
        self.file = file
        self.problems = tuple(problems)


class PlanningError(ReconcilerError):
    """A plan cannot be made or used."""

    default_code = "planning-failed"


class StalePlan(PlanningError):
    """The world moved since the plan was saved; ``details['moved']`` lists what."""

    default_code = "plan-stale"


class TamperedPlan(PlanningError):
    """The saved plan is not what its own observation leads to."""

    default_code = "plan-tampered"


class OutsideError(ReconcilerError):
    """Something outside did not do what it was asked to."""

    default_code = "outside-failed"


class Unreachable(OutsideError):
    """No answer, a broken answer, or an answer that says "later"."""

    default_code = "unreachable"
    retryable = True


class Refused(OutsideError):
    """A clear no: unauthorised, gated, unknown, unsupported."""

    default_code = "refused"


class Corrupt(OutsideError):
    """Bytes arrived that are not the bytes that were promised."""

    default_code = "corrupt"


class OutOfSpace(OutsideError):
    """The disk is full, or the next write would break a limit."""

    default_code = "out-of-space"


class RecordError(ReconcilerError):
    """What we wrote down about what we own cannot be used."""

    default_code = "record-failed"


class RecordLocked(RecordError):
    """Another run is the writer now."""

    default_code = "locked"
    retryable = True


class RecordUnreadable(RecordError):
    """The record was set aside under another name; it is never overwritten."""

    default_code = "record-unreadable"


class RecordConflict(RecordError):
    """The record belongs to another file of the same document name."""

    default_code = "record-conflict"
