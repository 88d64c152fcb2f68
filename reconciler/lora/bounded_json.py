"""JSON of a corpus: read within bounds, so that it can be written again, and told apart by hashes of one spelling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from reconciler.formats.foreign_json import read_json

DEEPEST = 64
"""Levels of nesting in a row; tool schemas have a dozen."""


def read_bounded(raw: bytes | str) -> Any:
    """A JSON document that can be written again as JSON: finite numbers, whole characters, not nested too deep.

    Raises:
        ValueError: it is none.
    """
    try:
        document = read_json(raw)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    _check(document)
    return document


def canonical_digest(document: Any) -> str:
    """``sha256:`` of compact JSON with the keys of every object sorted: the same whatever their order was."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _check(document: Any) -> None:
    """Level by level, so that nothing is as deep as the document.

    Raises:
        ValueError: too deep, or a number that JSON cannot write.
    """
    level = [document]
    for _ in range(DEEPEST):
        if any(isinstance(value, float) and not isfinite(value) for value in level):
            raise ValueError("a number that is not finite")
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, Mapping) else value)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {DEEPEST} levels")
