"""JSON that somebody else wrote: text that can be written again, or a ``ValueError``."""

from __future__ import annotations

import json
from typing import Any


def read_json(raw: bytes | str, *, unique_keys: bool = False) -> Any:
    """The document of a foreign file or answer, in UTF-8 with or without a byte order mark.

    JSON may name half of a surrogate pair (U+D800), which no UTF-8 file and no terminal takes: such a document is
    refused here, not where it would be kept or shown.

    Args:
        raw: the whole document.
        unique_keys: refuse an object that has a key twice, where the last would silently win.

    Raises:
        ValueError: not JSON, not UTF-8, or text that cannot be written.
        RecursionError: nested too deep.
    """
    text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
    try:
        document = json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    except ValueError as error:
        if "set_int_max_str_digits" not in str(error):
            raise
        raise ValueError("it holds a whole number of thousands of digits") from None
    if "\\ud" in text.lower():
        json.dumps(document, ensure_ascii=False).encode()  # raises UnicodeEncodeError, a ValueError
    return document


def read_object(raw: bytes, *, limit_bytes: int, unique_keys: bool = False) -> dict[str, Any]:
    """The object that a small foreign file holds.

    Args:
        raw: the whole file; of one that is too large, any beginning of more than ``limit_bytes``.
        limit_bytes: the largest file that is read.
        unique_keys: as of ``read_json``.

    Raises:
        ValueError: too large, not JSON, nested too deep, or not an object. Nothing else, for any bytes.
    """
    if len(raw) > limit_bytes:
        raise ValueError(f"larger than {limit_bytes} bytes")
    try:
        document = read_json(raw, unique_keys=unique_keys)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for any bytes
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r:.80} stands twice")
        found[key] = value
    return found
