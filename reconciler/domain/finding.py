"""One thing that a look at an adapter, a corpus or a recipe found: a stable code, and how bad it is."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.document import Frozen

Severity = Literal["error", "warning", "note"]


class Finding(Frozen):
    """One thing that was found."""

    code: str
    """Stable, of lower-case words joined by ``_``: what programs branch on, never the message."""
    severity: Severity
    """``error``: the report is not ok. ``warning``: a person should look. ``note``: worth knowing."""
    message: str
    """What was found, in one sentence."""
    hint: str | None = None
    """What a person can do."""
