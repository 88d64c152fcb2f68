"""Whether the splits of a corpus are disjoint: no example, and no prompt, stands in two of them.

Two examples are the same when everybody says the same in them, whatever the calls' ids, the shape they are written in
and the blanks between words. That is asked of hashes, so a corpus of any size is compared in one pass.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.domain.finding import Finding
from reconciler.lora.bounded_json import canonical_digest
from reconciler.lora.conversation import Answered, Result, Turn, Unconvertible, conversation_of
from reconciler.lora.corpus import Example, clipped
from reconciler.lora.findings import error, warning

_NAMED = 8
"""How many places a finding names."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an example is recognised by."""

    record: bytes
    prompt: bytes | None
    """Of everything before the first answer; None where the user says nothing before it."""


def fingerprint_of(example: Example) -> Fingerprint:
    """Of any example, also of one that cannot be exported. Never raises."""
    try:
        turns = conversation_of(example, text_calls=True)
    except Unconvertible:
        said: list[object] = [[message.role, _normal(message.content)] for message in example.messages]
        return Fingerprint(_digest(said), None)
    before = _before_answers(turns)
    asked = any(role == "user" for role, _ in before)
    return Fingerprint(_digest([_plain(turn) for turn in turns]), _digest(before) if asked else None)


def _before_answers(turns: Iterable[Turn]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for turn in turns:
        if isinstance(turn, Answered | Result):
            break
        found.append((turn.role, _normal(turn.text)))
    return found


def _plain(turn: Turn) -> list[object]:
    if isinstance(turn, Answered):
        return ["assistant", _normal(turn.text), [[each.call.name, each.call.arguments] for each in turn.calls]]
    if isinstance(turn, Result):
        return ["tool", turn.name, _normal(turn.content)]
    return [turn.role, _normal(turn.text)]


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _digest(document: object) -> bytes:
    return hashlib.blake2b(canonical_digest(document).encode(), digest_size=16).digest()


_Seen = dict[bytes, dict[str, str]]
"""Digest → split → the first place there."""


@dataclass(slots=True)
class SplitLedger:
    """Takes examples in any order and says which stand in more than one split."""

    records: _Seen = field(default_factory=dict)
    prompts: _Seen = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Examples by split, those of other files left out."""
    repeated: int = 0
    """Examples that their own split has already."""

    def add(self, example: Example, split: str) -> None:
        """An example of the corpus."""
        split = clipped(split)
        found = fingerprint_of(example)
        self.repeated += split in self.records.get(found.record, ())
        self.sizes[split] = self.sizes.get(split, 0) + 1
        self._note(found, split, clipped(example.id))

    def add_foreign(self, example: Example, file: str) -> None:
        """An example of a file that the corpus must have nothing in common with."""
        self._note(fingerprint_of(example), f"file {clipped(file)}", clipped(example.id))

    def _note(self, found: Fingerprint, split: str, place: str) -> None:
        self.records.setdefault(found.record, {}).setdefault(split, place)
        if found.prompt is not None:
            self.prompts.setdefault(found.prompt, {}).setdefault(split, place)

    def findings(self) -> tuple[Finding, ...]:
        """What the splits have in common, and what is there twice."""
        hint = "leave each in one split; the held-out ones are worth nothing once they were trained on"
        found = [
            error(code, f"{len(shared)} {what} in more than one split: {_named(shared)}", hint)
            for code, what, shared in (
                ("splits_share_records", "example(s) stand", self._shared(self.records)),
                ("splits_share_prompts", "prompt(s) stand", self._shared(self.prompts)),
            )
            if shared
        ]
        if self.repeated:
            what = f"{self.repeated} example(s) are in their split already"
            found.append(warning("records_repeated", what, "leave each in once, unless it is meant to weigh more"))
        return tuple(found)

    def _shared(self, seen: _Seen) -> list[dict[str, str]]:
        """Of each digest in two splits its places; at least one split is the corpus' own."""
        return [places for places in seen.values() if len(places) > 1 and any(split in self.sizes for split in places)]


def _named(shared: list[dict[str, str]]) -> str:
    shown = [" = ".join(f"{place} ({split})" for split, place in sorted(places.items())) for places in shared[:_NAMED]]
    return ", ".join(shown) + (f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else "")
