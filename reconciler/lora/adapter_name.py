"""The name that requests call an adapter by: what may stand in flags, files and URLs without quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.lora.findings import Finding, error

LONGEST = 128
FALLBACK = "lora-adapter"
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]*")


def name_of(given: str, path: str) -> str:
    """The name of an adapter: the one that was given, else the last part of its path.

    >>> name_of("", "/adapters/sql-tools/"), name_of("", "///")
    ('sql-tools', 'lora-adapter')
    """
    return given or path.rstrip("/").rpartition("/")[2] or FALLBACK


def judge_name(name: str, taken: Iterable[str]) -> tuple[Finding, ...]:
    """Why a name cannot be used.

    Args:
        name: of the adapter.
        taken: what requests call other models by, the base first of all.
    """
    if len(name) > LONGEST or not _ALLOWED.fullmatch(name):
        return (
            error(
                "name_invalid",
                f"{name!r:.160} cannot be a request's model: letters, digits and . _ / @ : + - only, at most {LONGEST}",
                "give another with --name",
            ),
        )
    folded = name.casefold()
    if any(folded == other.casefold() for other in taken):
        return (error("name_clash", f"{name} is what the base is called already", "give another with --name"),)
    return ()
