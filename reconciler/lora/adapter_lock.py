"""Adapters as they were accepted: files by hash, bound to base and contract id, in one committed file.

A contract id says what an adapter was trained for, not which weights it has: two files can carry the same. This is
where they are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field, ValidationError

from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.formats.flaws import Flawed, problems_of
from reconciler.formats.foreign_json import read_object
from reconciler.lora.findings import error

LOCK_LIMIT_BYTES = 4 * 2**20


class LockedFile(Frozen):
    """One file of an adapter."""

    name: str
    bytes: int
    sha256: str


class LockedAdapter(Frozen):
    """One adapter."""

    base: str
    contract_id: str | None
    """None: it has no contract."""
    files: tuple[LockedFile, ...]
    """By name; a pickle too, by its bytes."""


class AdapterLock(Frozen):
    """The whole file."""

    format_version: Literal[1] = 1
    adapters: dict[str, LockedAdapter] = Field(default_factory=dict)
    """By the name requests use."""

    def having(self, name: str, adapter: LockedAdapter) -> AdapterLock:
        """The same with one adapter added or replaced, sorted by name."""
        return self.model_copy(update={"adapters": dict(sorted((self.adapters | {name: adapter}).items()))})

    @property
    def content(self) -> bytes:
        """As it is written."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def read_lock(raw: bytes) -> AdapterLock:
    """A lockfile.

    Raises:
        ValueError: it is none. Nothing else, for any bytes.
    """
    try:
        return AdapterLock.model_validate(read_object(raw, limit_bytes=LOCK_LIMIT_BYTES, unique_keys=True))
    except ValidationError as flaw:
        raise ValueError(Flawed.of(tuple(problems_of(flaw))).summary) from flaw


def judge_lock(lock: AdapterLock, name: str, found: LockedAdapter) -> tuple[Finding, ...]:
    """How an adapter differs from what was accepted."""
    return tuple(_differences(lock, name, found))


def judge_acceptance(name: str, found: LockedAdapter, unread: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Why an adapter cannot be written into a lockfile: what has no hash would not be bound.

    Args:
        name: that requests use.
        found: what would be written.
        unread: files of it that have no hash.
    """
    left = ", ".join(unread)
    if found.files and not left:
        return ()
    if left:
        return (error("lock_nothing", f"{left} could not be read, so it cannot be locked", "see who may read it"),)
    text = f"no file of {name} could be read, so there is nothing to lock"
    return (error("lock_nothing", text, "download it, and name its folder"),)


def _differences(lock: AdapterLock, name: str, found: LockedAdapter) -> Iterator[Finding]:
    hint = "where the change is meant, --update-lockfile accepts it"
    if not found.files:
        yield from judge_acceptance(name, found)
        return
    accepted = lock.adapters.get(name)
    if accepted is None:
        yield error("lock_missing", f"the lockfile has no adapter {name}", hint)
        return
    if accepted.base != found.base:
        yield error("lock_base_differs", f"{name} was accepted for {accepted.base}, not for {found.base}", hint)
    if accepted.contract_id != found.contract_id:
        told = accepted.contract_id or "no contract"
        yield error(
            "lock_contract_differs", f"{name} was accepted with {told}, now {found.contract_id or 'none'}", hint
        )
    before, after = ({each.name: each for each in one.files} for one in (accepted, found))
    changed = sorted(each for each in before.keys() & after.keys() if before[each] != after[each])
    for word, names in (("differ", changed), ("are gone", sorted(before.keys() - after.keys())),
                        ("were not there", sorted(after.keys() - before.keys()))):  # fmt: skip
        if names:
            yield error("lock_files_differ", f"files that {word}: {', '.join(names)}", hint)
