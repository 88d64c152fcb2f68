"""What differs between two values, as a person reads it; the library for it is loaded only where something does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reconciler.cli.views.table import paint
from reconciler.domain.plan import Drift, Standing
from reconciler.domain.units import show_bytes

_SHOWN_OF_DIGEST = 12


def standing_lines(before: Standing, after: Standing) -> list[str]:
    """The fields in which what will stand differs from what stands: ``bytes: 5.0 GB → 5.2 GB``."""
    if before == after:
        return []
    from deepdiff import DeepDiff

    found = DeepDiff(before.model_dump(), after.model_dump(), ignore_type_in_groups=[(str, type(None))])
    rows = {**found.get("values_changed", {}), **found.get("type_changes", {})}
    changed = {_field(path): (row["old_value"], row["new_value"]) for path, row in rows.items()}
    return [f"{name}: {_shown(name, old)} → {_shown(name, new)}" for name, (old, new) in sorted(changed.items())]


def drift_lines(drift: Iterable[Drift]) -> list[str]:
    """One line for each thing that is not as we recorded it."""
    return [paint(f"drift: {one.name} on {one.target}: {_happened(one)}", "yellow") for one in drift]


def _happened(one: Drift) -> str:
    if one.kind == "missing":
        return "recorded, and not there any more"
    if one.before == one.after:
        return "served otherwise than recorded"
    return f"other content than recorded: {_shown('digest', one.before)} → {_shown('digest', one.after)}"


def _field(path: str) -> str:
    return re.sub(r"^root\['(\w+)'\].*", r"\1", path)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if name == "bytes":
        return show_bytes(int(value))
    text = str(value)
    return f"{text[:_SHOWN_OF_DIGEST]}…" if name == "digest" and len(text) > _SHOWN_OF_DIGEST else text
