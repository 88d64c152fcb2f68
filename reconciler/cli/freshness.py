"""What ``--offline`` and ``--refresh`` mean, the same for every command that has them."""

from __future__ import annotations

from reconciler.engine.world import Freshness
from reconciler.errors import UsageError


def freshness_of(*, offline: bool, refresh: bool) -> Freshness:
    """How the catalogue is read.

    Raises:
        UsageError: both flags were given.
    """
    if offline and refresh:
        raise UsageError("--offline and --refresh contradict each other", hint="give one of them")
    return "offline" if offline else "refresh" if refresh else "cached"
