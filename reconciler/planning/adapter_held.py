"""When the copy that we hold of an adapter may stand in for its source, which cannot be read now.

Only content that we attached and wrote down may, and only of the very source that the file names: a person who names
another one asks for something else.
"""

from __future__ import annotations

from reconciler.domain.adapter import Adapter, AdapterSource, RecordAdapter
from reconciler.domain.record import Record


def recorded_content(record: Record, adapter: Adapter, target_key: str, name: str) -> RecordAdapter | None:
    """The attachment that says what the source held: its own, else the latest one of the same source.

    Args:
        record: what is ours.
        adapter: as the file declares it.
        target_key: where it is to be served.
        name: that requests use there.
    """
    own = record.adapter(target_key, name)
    if own is not None and own.adapter == adapter.name and own.source in (None, adapter.source):
        return own
    others = [one for one in record.adapters if one.source == adapter.source != AdapterSource()]
    return max(others, key=lambda one: (one.attached_at, one.digest, one.name), default=None)


def settled_content(record: Record, adapter: Adapter, target_key: str) -> RecordAdapter | None:
    """The newest attachment on a target of what the file names as the source now, a candidate included."""
    own = [one for one in record.adapters if (one.target_key, one.adapter) == (target_key, adapter.name)]
    found = [one for one in own if one.source == adapter.source]
    return max(found, key=lambda one: (one.attached_at, one.name), default=None)


def has_met_the_terms(ours: RecordAdapter | None, adapter: Adapter, target_key: str, name: str, base: str) -> bool:
    """This very content has met everything that the file asks of it, under its own name on this base.

    What is served as a candidate has not.
    """
    return (
        ours is not None
        and (ours.target_key, ours.name, ours.base) == (target_key, name, base)
        and ours.terms == adapter.terms
    )
