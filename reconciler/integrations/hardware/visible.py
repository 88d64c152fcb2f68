"""Which cards a process may use: ``CUDA_VISIBLE_DEVICES`` and its relatives."""

from __future__ import annotations

from collections.abc import Sequence


def visible_positions(identities: Sequence[tuple[str, ...]], listed: str | None) -> tuple[int, ...]:
    """Positions of the cards that stay visible, in the order the list gives them.

    As the CUDA runtime reads it: unset shows all; the first entry that names no card ends the list, so an empty text,
    ``-1`` and ``none`` show nothing; a UUID may be shortened to any unique beginning; a repeated card counts once.

    Args:
        identities: for each card in driver order, the UUIDs it answers to.
        listed: the variable's value; None when it is unset.

    Source:
        CUDA C++ Programming Guide, "CUDA Environment Variables".

    >>> visible_positions([("GPU-aa",), ("GPU-bb",)], "1,0")
    (1, 0)
    >>> visible_positions([("GPU-aa",), ("GPU-bb",)], "0,7,1")
    (0,)
    """
    if listed is None or listed.strip().lower() == "all":
        return tuple(range(len(identities)))
    chosen: list[int] = []
    for entry in (part.strip() for part in listed.split(",")):
        position = _position(identities, entry)
        if position is None:
            break
        if position not in chosen:
            chosen.append(position)
    return tuple(chosen)


def _position(identities: Sequence[tuple[str, ...]], entry: str) -> int | None:
    if entry.isascii() and entry.isdigit():
        number = int(entry[:9])
        return number if number < len(identities) else None
    if len(entry) < len("GPU-x"):
        return None
    hits = [at for at, names in enumerate(identities) if any(n.lower().startswith(entry.lower()) for n in names if n)]
    return hits[0] if len(hits) == 1 else None
