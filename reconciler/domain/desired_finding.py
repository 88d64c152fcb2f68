"""One broken rule of a desired state file, and what the rules of every part of it share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reconciler.domain.desired_document import Settings

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that is broken: where, what was found and what is allowed, and how to go on."""

    path: Path
    """From the settings down: ``("slots", 2, "target")``."""
    message: str
    hint: str | None = None
    first: Path | None = None
    """The other place it collides with, where there is one."""
    rests_on: tuple[Path, ...] = ()
    """What else it was judged by, beside ``path``: while one of them is broken, the finding may be wrong."""
    elsewhere: tuple[Path, ...] = ()
    """The same for other parts of the file, from the settings down."""


def below(finding: Finding, *outer: str | int) -> Finding:
    """A finding about a part, as one about the whole that has the part at ``outer``."""
    rests_on = tuple((*outer, *path) for path in finding.rests_on)
    return replace(finding, path=(*outer, *finding.path), rests_on=rests_on)


def names_are_unique(where: str, names: list[str]) -> Iterator[Finding]:
    """The rule of every list whose items have names."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        first = seen.setdefault(name.lower(), index)
        if first != index:
            kind = where.removesuffix("s")
            yield Finding(
                (where, index, "name"), f"found {name!r}, the name of another {kind}; allowed: each name once",
                "give one of the two another name", (where, first, "name"),
            )  # fmt: skip


def of_each_target(settings: Settings, key: str) -> tuple[Path, ...]:
    """One key of every target; all of ``targets`` where there is none, for it may have been refused whole."""
    if settings.targets is None:
        return (("targets",),)
    return tuple(("targets", index, key) for index in range(len(settings.targets)))


def implied_target_name(settings: Settings) -> str:
    """What the only target is called where the file lists none."""
    return settings.installer.backend if settings.installer else "store"


def may_meet(one: str | None, other: str | None) -> bool:
    """Whether two things may end on one target; None: any."""
    return one is None or other is None or one == other
