"""Whether anybody is being answered by a loaded model, as far as two looks at ``/api/ps`` can tell.

Ollama has no list of running requests. It writes ``expires_at`` only when a model goes idle (read in 0.33.0-rc2): while
the first use runs, every look sees now + ``keep_alive``; while a later use runs, the old time stays, and passes. So a
time that moves or is past is a model in use, and one that stands still in the future is *probably* idle: it may be
answering again before its old time has passed. Unloading makes up for that: the server finishes a request first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from reconciler.integrations.runtimes.ollama_api import Loaded

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def busy(first: Sequence[Loaded], second: Sequence[Loaded], now: datetime) -> frozenset[Loaded]:
    """Those of the second look that answer somebody, or may.

    What does not tell when it expires may be busy, and so may what only the second look saw: it was just loaded.

    Args:
        first: a look at what is loaded.
        second: the same, a moment later.
        now: not before the second look. A clock that is ahead of the server's finds more busy, never fewer.
    """
    stood = {(item.name, item.digest, item.expires_at) for item in first}
    return frozenset(
        item
        for item in second
        if item.expires_at is None or item.expires_at <= now or (item.name, item.digest, item.expires_at) not in stood
    )


def last_use(idle: Loaded, keep_alive: timedelta | None, now: datetime) -> datetime | None:
    """When an idle model went idle; None where it cannot be told: a request may have asked for a time of its own."""
    if keep_alive is None or idle.expires_at is None:
        return None
    try:
        used = idle.expires_at - keep_alive
    except OverflowError:
        return None
    return used if used <= now else None


def keep_alive_of(text: str) -> timedelta | None:
    """``OLLAMA_KEEP_ALIVE``: seconds, or a Go duration. None: not set, not readable, or for ever.

    >>> keep_alive_of("1h30m").total_seconds(), keep_alive_of("90").total_seconds(), keep_alive_of("-1")
    (5400.0, 90.0, None)
    """
    parts = _DURATION.findall(text)
    if not re.fullmatch(r"[\d.smh]{1,32}", text):
        return None
    try:
        if text == "".join(f"{number}{unit}" for number, unit in parts):
            return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts)) or None
        return timedelta(seconds=float(text)) or None
    except (ValueError, OverflowError):
        return None
