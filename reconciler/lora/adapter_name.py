"""The name that requests call an adapter by: what may stand in flags, files and URLs without quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.domain.finding import Finding
from reconciler.lora.adapter_files import AdapterPlace
from reconciler.lora.findings import error

LONGEST = 128
FALLBACK = "lora-adapter"
_USUAL = ("adapter_model", "adapters")
_ENDING = re.compile(r"\.(?:safetensors|gguf|bin|pt|pth)$", re.IGNORECASE)
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@:+-]*")


def name_of(place: AdapterPlace) -> str:
    """What an adapter is called where nobody says: the last part of its path, of a file without its ending.

    >>> name_of(AdapterPlace("/adapters/sql-tools", exists=True)), name_of(AdapterPlace(".", exists=True))
    ('sql-tools', 'lora-adapter')
    """
    path = place.path if place.is_file else place.folder or place.path
    name = _last(path)
    if place.is_file:
        name = _ENDING.sub("", name)
        name = _last(place.folder or "") if name in _USUAL else name
    return name if name.strip(".") else FALLBACK


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


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
                "give another with --name, in a file with `as`",
            ),
        )
    folded = name.casefold()
    if any(folded == other.casefold() for other in taken):
        return (
            error(
                "name_clash",
                f"{name} is what the base is called already",
                "give another with --name, in a file with `as`",
            ),
        )
    return ()
