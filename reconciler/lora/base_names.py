"""Whether the base that an adapter names is the one that will serve it, by names alone: the weaker half of the answer.

What a person writes down is a repository, a folder of a cache, a quantised copy or an Ollama tag of one model. Only the
same organisation's model is the same model: a copy that somebody else offers, and a sibling with the same last name in
another organisation, look alike. ``base_shapes`` is what can tell more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Match = Literal["exact", "suffix", "mismatch", "unknown"]

_CACHE = re.compile(r"(?:^|/)models--([^/]+?)--([^/]+?)(?:/|$)")
_COPY = re.compile(
    r"(?i)[-_.](?:gguf|awq|gptq|exl2|exl3|mlx|fp8|fp4|nvfp4|mxfp4|bf16|fp16|f16|hqq|aqlm|w[48]a(?:8|16)|int[48]"
    r"|(?:unsloth-)?bnb(?:-[48]bits?)?|[3468]-?bits?|dynamic|gptq-int[48]|quantized)$"
)
"""Ends of names that say how the weights are stored, not whose they are."""
_LOCAL = re.compile(r"^(?:[~./\\]|[A-Za-z]:[\\/])")
_PARTS = 2


@dataclass(frozen=True, slots=True)
class NameMatch:
    """How two names of a base compare."""

    verdict: Match
    declared: str | None
    """What was understood of the declared name; None: nothing was declared."""
    note: str | None = None
    """What was left aside to compare them, in a few words."""


def plain_match(declared: str | None, resolved: str) -> Match:
    """The origin's comparison: ``models/`` in front and case are left aside, nothing else.

    >>> plain_match("models/Qwen/Qwen3-8B", "qwen/qwen3-8b"), plain_match("a/x", "b/x")
    ('exact', 'suffix')
    """
    left, right = _normal(declared or ""), _normal(resolved)
    if not left:
        return "unknown"
    if left == right:
        return "exact"
    return "suffix" if _last(left) == _last(right) else "mismatch"


def match_names(declared: str | None, *known: str) -> NameMatch:
    """Compares what an adapter declares with every name its base is known by.

    Args:
        declared: ``base_model_name_or_path`` of the adapter, or ``contract.base_model``.
        known: the base's id first, then repositories that hold the same model, its Ollama name.
    """
    understood, notes = _understood(declared or "")
    if not understood:
        return NameMatch("unknown", None)
    best: Match = "mismatch"
    for name in known:
        theirs, _ = _understood(name)
        found = plain_match(understood, theirs)
        if found == "exact":
            return NameMatch("exact", understood, _joined(notes))
        best = "suffix" if found == "suffix" else best
    if best == "mismatch" and _is_local(declared or "") and not _CACHE.search(declared or ""):
        return NameMatch("unknown", understood, "a path on another machine, which says nothing of whose model it is")
    return NameMatch(best, understood, _joined(notes))


def _understood(name: str) -> tuple[str, list[str]]:
    """(organisation/name, what was left aside)."""
    text, notes = name.strip().replace("\\", "/").rstrip("/"), []
    cached = _CACHE.search(text)
    if cached:
        text = f"{cached[1]}/{cached[2]}"
        notes.append("the path of the Hub's cache")
    text = text.removeprefix("https://huggingface.co/").removeprefix("hf.co/")
    head, colon, tag = text.rpartition(":")
    if colon and "/" in head and "/" not in tag:  # of an Ollama name the tag says which model
        text = head
        notes.append(f"the tag :{tag}")
    head, at, revision = text.rpartition("@")
    if at and head and "/" not in revision:
        text = head
        notes.append(f"the revision @{revision}")
    while found := _COPY.search(text):
        text = text[: found.start()]
        notes.append(f"the suffix {found[0]}")
    return text, notes


def _is_local(name: str) -> bool:
    text = name.strip()
    return bool(_LOCAL.match(text)) or text.rstrip("/").count("/") >= _PARTS


def _normal(name: str) -> str:
    text = name.strip()
    while text.startswith("models/"):
        text = text.removeprefix("models/")
    return text.lower()


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _joined(notes: list[str]) -> str | None:
    return f"left aside: {', '.join(notes)}" if notes else None
