"""The outside world as a short list of protocols, in domain values.

Addressed to whoever writes the next integration: an integration raises ``reconciler.errors.OutsideError`` (or its
children) and nothing else of its own; foreign exceptions are translated at the door. Every coroutine may be cancelled
at any await and must leave the world in a state the next call understands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from reconciler.domain.adapter import HeldAdapter, Outtype, ServedAdapter
from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, HardwareOverride, Target
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.measurement import Measurement, Measurements, Timing, Trial
from reconciler.domain.observation import (
    Alias,
    Answer,
    HubNeed,
    Installed,
    RegistryNeed,
    Serving,
    TargetObservation,
)
from reconciler.domain.plan import Row
from reconciler.domain.record import Record
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import Bytes
from reconciler.lora.adapter_files import AdapterPlace

if TYPE_CHECKING:
    from reconciler.lora.adapter_content import AdapterContent, HeldFiles
    from reconciler.lora.corpus import CorpusLine
    from reconciler.lora.remote_adapter import RemoteAdapter


class DesiredSource(Protocol):
    """Where the desired state comes from."""

    async def load(self) -> DesiredState:
        """The whole state, or ``DesiredStateError`` with every problem of the file. May be called again."""
        ...


class HardwareProbe(Protocol):
    """Reads the machine."""

    def probe(self, override: HardwareOverride | None = None) -> HardwareReading:
        """The machine, or the one ``override`` describes (then nothing is run).

        Never raises: at worst a CPU profile with warnings. Under 2 s; cached 24 h by the integration.
        """
        ...


class Catalog(Protocol):
    """What models exist, and what stands behind one of them."""

    async def candidates(
        self, desired: DesiredState, *, freshness: Literal["offline", "cached", "refresh"]
    ) -> Catalogue:
        """The models known. Never raises for want of a network: the cache, then the snapshot, with a note of its age.

        ``offline`` asks nobody; ``cached`` refreshes once when older than ``refresh.interval`` (10 s at most);
        ``refresh`` always asks.
        """
        ...

    async def resolve(self, need: HubNeed | RegistryNeed) -> Answer:
        """Commit, files, sizes, digests, gating of one pick. A clear no is ``Unavailable``, not an exception."""
        ...


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


class AdapterConverter(Protocol):
    """Makes the GGUF that llama.cpp takes out of an adapter as peft saves it. Keeping what it made is its caller's."""

    async def identity(self) -> str:
        """Which converter it is, by its content: with the adapter's digest and the element type, the key of a result.

        Raises:
            Refused: ``no-converter``: there is none on this host (``hint`` says how to get one).
        """
        ...

    async def convert(self, folder: str, base: str | None, outtype: Outtype, out: str) -> None:
        """Write ``out``, whole and verified to be a GGUF adapter when this returns; nothing stands there otherwise.

        Args:
            folder: with ``adapter_config.json`` and ``adapter_model.safetensors``; a pickle is never given to it.
            base: a folder with the base's Hugging Face ``config.json``, which is all that is read of it; or its Hub id,
                which the converter asks the Hub for, without any token; None: as the adapter's configuration names it,
                which may be either.
            outtype: element type.
            out: absolute; its folder exists.

        Raises:
            Refused: ``no-converter``; ``conversion-failed``: the converter says no (its words are in the message).
            Unreachable: it took too long.
        """
        ...


class AdapterStore(Protocol):
    """Keeps adapters that targets serve, by their content: what stands under a digest is verified and never changes."""

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        """Have these files, and write down who wants them; a damaged copy is made again.

        Args:
            content: copied from this host, or fetched.
            holder: who keeps it; said first, so that a run that is killed leaves nothing without an owner.
            progress: of the bytes.

        Returns:
            Absolute path of the folder as peft saves it, or of the one GGUF file.

        Raises:
            Corrupt: ``content-changed``: they are not what was looked at; nothing of them is kept.
            Refused, Unreachable, OutOfSpace: as ``Runtime.install`` does.
        """
        ...

    async def converted(self, digest: str, key: str, make: Callable[[str], Awaitable[None]]) -> str:
        """Absolute path of the GGUF made from a held adapter; ``make`` writes it, once for every ``key``."""
        ...

    async def find(self, repo: str, commit: str) -> tuple[AdapterContent, str] | None:
        """What is held, whole, of a repository at one commit, and where; None: it would have to be fetched."""
        ...

    async def held(self) -> tuple[HeldFiles, ...]:
        """What is there, by digest."""
        ...

    async def keep(self, digest: str, holder: str) -> None:
        """One more holder of files that are held; nothing where none are."""
        ...

    async def drop(self, digest: str, holder: str) -> Bytes:
        """This holder needs it no more; the files go with the last one. Bytes freed."""
        ...

    async def sweep(self) -> None:
        """Remove what killed runs left unfinished and nobody is working on."""
        ...


class AdapterHub(Protocol):
    """Looks into adapters that lie on a Hub, without fetching their weights."""

    async def look(self, repo: str, revision: str | None, *, pickles: bool) -> RemoteAdapter:
        """Its files at one commit, and the beginning of each.

        Args:
            repo: ``organisation/name``.
            revision: commit or tag; None: what the repository offers now.
            pickles: pickled weights count where there are no others.

        Raises:
            Refused: ``not-found``, ``gated``, ``unauthorised``, ``not-installable``. Unreachable, Corrupt: no answer,
                or nonsense.
        """
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A runtime whose models lie in files that can be read from here."""

    async def file_of(self, name: str) -> str | None:
        """Absolute path of an installed model's first file; None: it is not there, or cannot be told. Never raises."""
        ...


class RecordStore(Protocol):
    """Keeps one document's record: atomic to save, impossible to half-read."""

    async def load(self) -> Record:
        """The record, or an empty one where none exists.

        Raises:
            RecordUnreadable: it was set aside under another name, which the error carries.
        """
        ...

    async def save(self, record: Record) -> None:
        """Durable when it returns: temporary file, fsync, rename, fsync of the folder."""
        ...

    async def journal(self, line: dict[str, object]) -> None:
        """Append one line, durable when it returns."""
        ...

    async def history(self) -> tuple[dict[str, object], ...]:
        """Every whole line of the journal that is kept, oldest first; empty where there is none. Changes nothing.

        Whatever was dropped from its beginning is not needed: what is left begins with a whole record.

        Raises:
            RecordError: it cannot be read.
        """
        ...

    async def others(self) -> tuple[Record, ...]:
        """Records of other documents that are kept in the same place, as far as they can be read. Changes nothing."""
        ...

    def lock(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """One writer per record, across processes. ``RecordLocked`` carries owner, host and age."""
        ...


class Meter(Protocol):
    """Times the models of one target. It only reads them; what was loaded stays loaded, and nothing else does."""

    async def obstacle(self, model: Installed, ram: Bytes) -> str | None:
        """Why this model cannot be measured now, in a sentence for a person; None where it can.

        Args:
            model: as it is installed.
            ram: how much of it would lie in the host's memory.
        """
        ...

    async def measure(self, model: Installed, trial: Trial) -> Timing:
        """Load, run the fixed prompt, and unload again; also when it is cancelled.

        Raises:
            Refused, Corrupt: code ``not-measurable``: there is no speed to tell, as of an embedding model; else it
                does not run. Unreachable: it did not answer, or not within the time.
        """
        ...

    async def close(self) -> None: ...


class MeasurementStore(Protocol):
    """Keeps what was measured on this machine."""

    async def load(self, machine: str) -> Measurements:
        """What is known of one machine. Never raises and changes nothing: what cannot be read is a note."""
        ...

    def measuring(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """While it is held nobody else measures on this machine.

        Raises:
            RecordLocked: another run measures. RecordError: nothing can be kept here.
        """
        ...

    async def add(self, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
        """Keep these too, durable when it returns; notes for a person.

        Raises:
            RecordError: it cannot be written.
        """
        ...


class CorpusFile(Protocol):
    """One corpus, read from the first line to the last."""

    @property
    def path(self) -> str:
        """The file itself, also where its folder was named."""
        ...

    def lines(self) -> Iterator[CorpusLine]:
        """Every line once, in order, one in memory at a time.

        Raises:
            OutsideError: it cannot be read on, or changed meanwhile (``content-changed``).
        """
        ...

    @property
    def sha256(self) -> str:
        """Hexadecimal, of the whole file; known once every line was read."""
        ...


class ExportDrafts(Protocol):
    """A data set and its manifest while they are written: beside their places, under other names."""

    def add(self, line: str) -> None:
        """One more line of the data set.

        Raises:
            OutOfSpace, OutsideError: it cannot be written.
        """
        ...

    def dataset_sha256(self) -> str | None:
        """Hexadecimal, of the data set as it lies on the disk; None where none is written."""
        ...

    def put_manifest(self, text: str) -> str:
        """Write the manifest; what can be read of it afterwards."""
        ...

    def keep(self) -> None:
        """Put both in their places: both, or neither and what was there stays.

        Raises:
            OutsideError: it did not work.
        """
        ...


class CorpusFiles(Protocol):
    """Corpora to train on, and what is made of them."""

    def corpus(self, named: str) -> CorpusFile:
        """The corpus of a file, or of a folder that holds one under a conventional name.

        Raises:
            UsageError: ``file-unreadable``: there is none, or it is no file.
        """
        ...

    def text(self, named: str, *, limit: Bytes) -> bytes:
        """A small file, whole.

        Raises:
            UsageError: ``file-unreadable``: it is none, or larger than ``limit``.
        """
        ...

    def drafts(
        self, out: str | None, manifest: str | None, *, apart_from: Sequence[CorpusFile]
    ) -> AbstractContextManager[ExportDrafts]:
        """Begin both files; what was not kept when the context ends is gone.

        Args:
            out: where the data set goes; None: nowhere. A link is followed: it stays, what it means is replaced.
            manifest: where the manifest goes, likewise.
            apart_from: files that must not be written over, by whatever name.

        Raises:
            UsageError: ``file-unwritable``: no place for a file, or a file that is read here.
        """
        ...


class AdapterFiles(Protocol):
    """Reads LoRA adapters, and what they are compared with. It only reads; every call may block."""

    def find(self, given: str) -> AdapterPlace:
        """What is at a path as a person typed it. A path that leads nowhere is an answer, not an error.

        Raises:
            Refused: it is there and cannot be looked at.
        """
        ...

    def size(self, path: str) -> Bytes:
        """Length of a file; raises as ``beginning``."""
        ...

    def beginning(self, path: str, count: int) -> bytes:
        """The first ``count`` bytes, fewer where the file is shorter.

        Raises:
            Refused: it is not there, no regular file, or cannot be read.
        """
        ...

    def digest(self, path: str) -> str:
        """Hex SHA-256 of the whole file, in little memory; raises as ``beginning``, and where somebody writes to it."""
        ...


class Clock(Protocol):
    """Time, as a value that tests can hold still."""

    def now(self) -> datetime:
        """UTC, timezone-aware. What dates are made of, and no durations: anybody may set it back or forward."""
        ...

    def elapsed(self) -> float:
        """Seconds since a moment that stays the same; never goes back, and nobody can set it."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Reporter(Protocol):
    """Hears how an apply goes. Any number of listeners; none is fine too."""

    def step_started(self, row: Row) -> None: ...

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None: ...

    def step_finished(self, outcome: StepOutcome) -> None: ...

    def note(self, level: Literal["info", "warning"], message: str) -> None: ...

    def finished(self, report: Report) -> None: ...


class Wakeups(Protocol):
    """Why ``watch`` looks again. An event wakes, it never instructs: a missed one costs time and nothing else."""

    def __aiter__(self) -> AsyncIterator[Literal["changed", "tick", "stop"]]: ...
