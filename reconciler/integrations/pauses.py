"""When a server is asked again: what it says of that itself, what its status says, and a growing pause otherwise."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT_SECONDS = 30.0
"""A server that asks for a longer pause is not asked again here: its answer goes to the caller."""

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Verbs that may be carried out twice."""
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_RETRIED_AFTER_WRITING = frozenset({408, 425, 429, 503})
_RATE_LIMIT = re.compile(r"(?:^|;)\s*([rt])=(\d+(?:\.\d+)?)")


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How long a server asks to wait: ``Retry-After``, else a spent ``RateLimit``; None where it does not say.

    Args:
        headers: of the answer.
        now: needed only for a ``Retry-After`` that is a date; without it such a date counts as not said.

    Source:
        RFC 9110 section 10.2.3; ``RateLimit: "api";r=0;t=120`` as the Hub sends it.

    >>> retry_after_seconds({"retry-after": "7"}), retry_after_seconds({"ratelimit": '"api";r=0;t=120'})
    (7.0, 120.0)
    """
    value = _header(headers, "retry-after").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    if value and now is not None:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
    left = rate_limit(headers)
    return left[1] if left is not None and left[0] == 0 else None


def rate_limit(headers: Mapping[str, str]) -> tuple[int, float] | None:
    """(requests left, seconds until the window starts again) from a ``RateLimit`` header; None where there is none.

    >>> rate_limit({"ratelimit": '"api";r=499;t=12'})
    (499, 12.0)
    """
    found = dict(_RATE_LIMIT.findall(_header(headers, "ratelimit")))
    return (int(float(found["r"])), float(found["t"])) if {"r", "t"} <= set(found) else None


def wait_seconds(
    method: str, status: int, headers: Mapping[str, str], attempt: int, now: Callable[[], datetime]
) -> float | None:
    """The pause before the next try; None when this answer is the answer."""
    retried = _RETRIED_STATUS if method.upper() in REPEATABLE else _RETRIED_AFTER_WRITING
    if status not in retried:
        return None
    asked = retry_after_seconds(headers, now())
    if asked is None:
        return backoff_seconds(attempt)
    return asked if asked <= LONGEST_WAIT_SECONDS else None


def backoff_seconds(attempt: int) -> float:
    """Longer with every try, and never the same for two who began together."""
    return float(min(8.0, 0.5 * 2**attempt) * (0.5 + random.random()))  # noqa: S311 - jitter, not a secret


def _header(headers: Mapping[str, str], name: str) -> str:
    """A header of httpx, which ignores case, or of a plain mapping."""
    return headers.get(name) or next((value for key, value in headers.items() if key.lower() == name), "")
