"""Which kinds of behaviour a corpus teaches: five classes that examples name, and that their messages must show.

Source:
    section 6 of the specification of the origin's commands; the last generation of it has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.lora.call_text import bodies_of
from reconciler.lora.corpus import Example, clipped
from reconciler.lora.findings import error, warning

POLICIES = ("off", "strict", "legacy-unclassified")
_ALIASES = {
    "valid_tool_call": ("sequential_tool_call",),
    "parallel_tool_call": ("parallel_tool_calls",),
    "no_tool_answer": ("no_tool", "direct_answer"),
    "unavailable_tool_repair": ("unknown_tool_repair",),
    "multi_turn_continuation": ("multi_turn_tool_result_continuation",),
}
_BY_NAME = {name: word for word, names in _ALIASES.items() for name in (word, *names)}
_MOST_IDS = 20


class BehaviourReport(Frozen):
    """The ``behavior_strata`` section of a report."""

    policy: str
    status: str
    """covered · incomplete · legacy_unclassified."""
    required: tuple[str, ...]
    source: dict[str, int]
    """Records by the classes they name."""
    emitted: dict[str, int]
    """Records by the classes that they name and show."""
    missing_required: tuple[str, ...]
    unclassified_record_ids: tuple[str, ...]
    """The first 20."""


def classes_of(example: Example) -> frozenset[str]:
    """The classes that an example names, under either key, in its metadata or in itself.

    Raises:
        ValueError: one that nobody knows.
    """
    found: set[str] = set()
    for where in (example.fields, example.metadata):
        for key in ("behavior_class", "behavior_classes"):
            if where.get(key) is not None:
                found.update(_canonical(word) for word in _listed(where[key]))
    return frozenset(found)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _canonical(word: Any) -> str:
    known = _BY_NAME.get(word.strip().lower().replace("-", "_")) if isinstance(word, str) else None
    if known is None:
        raise ValueError(f"behavior_class is {word!r:.60}; known are {', '.join(_ALIASES)}")
    return known


def shown_by(example: Example, named: frozenset[str]) -> frozenset[str]:
    """The classes that the example's answers show. That a call is one shows by itself; the others must be named too."""
    answers = [message for message in example.messages if message.role == "assistant"]
    calls = [len(message.calls) or sum(1 for _ in bodies_of(message.content)) for message in answers]
    shown = {
        "parallel_tool_call": any(count > 1 for count in calls),
        "no_tool_answer": 0 in calls,
        "unavailable_tool_repair": 0 in calls,
        "multi_turn_continuation": sum(count > 0 for count in calls) > 1,
    }
    own = {"valid_tool_call"} if any(calls) else set()
    return frozenset(own | {name for name, is_shown in shown.items() if is_shown and name in named})


@dataclass(slots=True)
class BehaviourTally:
    """Takes the examples of a corpus one by one."""

    policy: str
    source: Counter[str] = field(default_factory=Counter)
    emitted: Counter[str] = field(default_factory=Counter)
    unclassified: list[str] = field(default_factory=list)

    def add(self, example: Example) -> Finding | None:
        """Count an example; what is wrong with its classes."""
        if self.policy == "off":
            return None
        try:
            named = classes_of(example)
        except ValueError as fault:
            return error("behavior_unknown", f"{clipped(example.id)} (line {example.line}): {fault}")
        if not named and len(self.unclassified) < _MOST_IDS:
            self.unclassified.append(clipped(example.id))
        self.source.update(named)
        self.emitted.update(shown_by(example, named))
        return None

    @property
    def report(self) -> BehaviourReport | None:
        """None: nobody asked."""
        if self.policy == "off":
            return None
        missing = tuple(word for word in _ALIASES if not self.emitted[word])
        is_legacy = self.policy == "legacy-unclassified" and not self.source and bool(self.unclassified)
        status = "legacy_unclassified" if is_legacy else "incomplete"
        return BehaviourReport(
            policy=self.policy.replace("-", "_"),
            status=status if missing else "covered",
            required=tuple(_ALIASES),
            source=dict(sorted(self.source.items())),
            emitted=dict(sorted(self.emitted.items())),
            missing_required=missing,
            unclassified_record_ids=tuple(self.unclassified),
        )

    def findings(self) -> Iterator[Finding]:
        """Whether all five are taught."""
        found = self.report
        if found is None or found.status == "covered":
            return
        what = f"no record teaches {', '.join(found.missing_required)}"
        if found.status == "legacy_unclassified":
            yield warning("behavior_unclassified", f"no record names a behavior_class, so {what} that is known")
        else:
            yield error("behavior_incomplete", what, "add such records, each with its behavior_class")
