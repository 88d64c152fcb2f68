"""The hashes of adapter files that a manifest or a receipt states, however they are laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_ADDRESSES = frozenset({"adapter_reference", "local_path"})
"""What the origin writes beside ``adapter_files``: where an adapter was, not what it is."""


class StatedHash(NamedTuple):
    """One file, as somebody wrote it down."""

    name: str | None
    """Without any folder; None: it is not said of which file."""
    sha256: str
    """Lower case, without a prefix."""


def stated_hashes(document: Mapping[str, Any]) -> Iterator[StatedHash]:
    """Everything under ``artifacts`` and ``adapter_files``.

    Rows ``{path, sha256}`` (also ``file``, ``name``), an object by name, and the origin's ``{adapter_reference,
    adapter_files: [{path, sha256}]}``; keys in either spelling, hashes in any case and with ``sha256:`` before them.
    """
    for key in ("artifacts", "adapter_files"):
        yield from _within(key_of(document, key))


def key_of(document: object, key: str) -> Any:
    """What stands under a key in snake_case or camelCase; None: nothing."""
    if not isinstance(document, Mapping):
        return None
    return document.get(key, document.get(_camel(key)))


def _within(held: object) -> Iterator[StatedHash]:
    if isinstance(held, list):
        for row in held:
            yield from _stated(_named(row), key_of(row, "sha256"))
    elif isinstance(held, Mapping):
        yield from _within(key_of(held, "adapter_files"))
        for name, value in held.items():
            if isinstance(value, list) or name in _ADDRESSES or name in {_camel(one) for one in _ADDRESSES}:
                continue
            yield from _stated(name, value if isinstance(value, str) else key_of(value, "sha256"))


def _named(row: object) -> object:
    return next(
        (found for key in ("path", "file", "name") if isinstance(found := key_of(row, key), str) and found), None
    )


def _stated(name: object, digest: object) -> Iterator[StatedHash]:
    if isinstance(digest, str) and digest:
        last = name.replace("\\", "/").rpartition("/")[2] if isinstance(name, str) else ""
        yield StatedHash(last or None, digest.lower().removeprefix("sha256:"))


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(word.capitalize() for word in rest)
