"""One configured target: what every runtime does, and what some can do besides (asked with ``isinstance``)."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from reconciler.domain.adapter import HeldAdapter, ServedAdapter
from reconciler.domain.desired import Target
from reconciler.domain.observation import Alias, Installed, Serving, TargetObservation
from reconciler.domain.plan import Row
from reconciler.domain.units import Bytes


class Progress(Protocol):
    """Told about the bytes of one step while it runs. Calls must be cheap."""

    def __call__(self, done: Bytes, total: Bytes, note: str = "") -> None: ...


class Runtime(Protocol):
    """One configured target that holds models.

    ``observe`` may be called any number of times. ``install`` and ``remove`` are called one at a time per target.
    """

    @property
    def target(self) -> Target: ...

    async def observe(self) -> TargetObservation:
        """Everything installed, or ``UnknownTarget``; never half an answer. Changes nothing; raises nothing outside."""
        ...

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        """(digest, stamp) of an installed model, by reading it whole where needed.

        Raises:
            Refused: the target cannot tell, or has no such model.
        """
        ...

    async def install(self, row: Row, progress: Progress) -> Installed:
        """Fetch ``row.artifact`` under ``row.name``, verified; what stands there when this returns is complete.

        Partial bytes are kept for resuming, and found again by the next call with the same artifact. An ``update``
        row replaces what stands under the name; the old content stays in place until the new one is verified.

        Raises:
            Unreachable: try again later. Refused: the source or target says no. Corrupt: wrong bytes arrived and
            were thrown away. OutOfSpace: nothing more was written.
        """
        ...

    async def remove(self, name: str) -> Bytes:
        """Remove one model and return the bytes freed; 0 when it was already gone.

        Raises:
            Refused: in use, or not removable by this runtime (``hint`` says what a person can do).
        """
        ...

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        """Throw away unfinished downloads of ours whose model name is not in ``names``; bytes freed."""
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Serves(Protocol):
    """A runtime that can also be told how to serve a model that it holds."""

    async def serve(self, name: str, wanted: Serving) -> None:
        """Settings of an installed model, in force from its next load on when this returns. May be called again.

        Raises:
            Refused: ``in-use``: somebody is being answered; or the settings are not ours to change, or cannot be
                changed (``hint`` says how a person can).
        """
        ...


@runtime_checkable
class HasDisk(Protocol):
    """A runtime that downloads by itself, onto a disk that can be looked at from here."""

    async def free_disk_bytes(self) -> int | None:
        """What this user may still write where the target keeps its models; None where nobody can tell.

        Cheap: asked every few seconds while a download runs. Raises nothing.
        """
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A runtime whose models lie in files that can be read from here."""

    async def file_of(self, name: str) -> str | None:
        """Absolute path of an installed model's first file; None: it is not there, or cannot be told. Never raises."""
        ...


@runtime_checkable
class Names(Protocol):
    """A runtime that can give a model that it holds a second, stable name. Whose the name is, the caller knows."""

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        """Make ``alias`` stand for ``model``, or move it there in one step; what a look then sees of it.

        A request under the name is served by the old model or the new one at every instant. Whatever stood under the
        name and is no alias by its form (a model of its own, a file) is left alone and refused.

        Args:
            alias: as the file spells it.
            model: canonical name of a model that is installed, whole and verified.
            context: tokens that a request under the name gets, where the name can carry that.

        Raises:
            Refused: ``unmanaged-conflict``: the name is taken by something that is no alias; ``in-use``; or this
                target, as it is set up, has no stable names (``hint`` says what would give it one).
        """
        ...

    async def unname(self, alias: str) -> None:
        """Remove the name; nothing where it is gone already. No file of a model goes with it.

        Raises:
            Refused: as ``name`` does.
        """
        ...


@runtime_checkable
class ServesAdapters(Protocol):
    """A runtime that can be told to serve LoRA adapters beside its models. Whose they are, the caller knows."""

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        """Serve it under its name, or serve it instead of what stands under that name; what a look then sees.

        The new one is loaded and answers a probe before the old one goes; on any failure the old one serves on. The
        base is never taken down for good: where it has to be loaded again, it is loaded as it was.

        Raises:
            Refused: the target, as it is set up, cannot (``no-api``, ``hint`` has the exact command that would);
                ``in-use``; ``unmanaged-conflict``: the name is a model of its own; ``adapter-refused``: the runtime
                said no to these weights.
            Unreachable: try again later.
        """
        ...

    async def detach(self, name: str, base: str) -> None:
        """Serve it no more; nothing where it is gone already. Its files stay.

        Raises:
            Refused: as ``attach`` does.
        """
        ...


@runtime_checkable
class NamesAdapterFiles(Protocol):
    """A runtime that is told where an adapter's files lie, in words that not every path can stand in."""

    def check_path(self, path: str) -> None:
        """Nothing where it can be told.

        Raises:
            Refused: ``not-installable``: it cannot.
        """
        ...


@runtime_checkable
class TriesAdapters(Protocol):
    """A runtime that tries an adapter under a passing name before it gives it its own."""

    async def end_tries(self, name: str) -> None:
        """Take away what an attach of this name left when it was cut off; what is served under it stays.

        Raises:
            Refused, Unreachable: it is there still, maybe.
        """
        ...
