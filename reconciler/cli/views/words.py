"""Numbers with their nouns."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """``1 model``, ``2 models``; the noun in the singular, its plural regular.

    >>> counted(1, "target"), counted(0, "model")
    ('1 target', '0 models')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
