"""What the place of an adapter's files tells, where they lie in an adapter store: ``…/adapters/<digest>/…``."""

from __future__ import annotations

import re

_IN_A_STORE = re.compile(r"/adapters/([0-9a-f]{64})(?:/|$)")


def digest_of_place(path: str) -> str | None:
    """The digest of the content at a path, which its folder in the store is named by; None where it lies elsewhere.

    >>> digest_of_place("/data/adapters/" + "a" * 64 + "/sql") == "a" * 64
    True
    >>> digest_of_place("/data/adapters/sql") is None
    True
    """
    found = _IN_A_STORE.search(path)
    return found[1] if found is not None else None
