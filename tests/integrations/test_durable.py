"""What must survive a power cut is flushed before its name says that it is there, and its folder afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.integrations.journal import Journal
from reconciler.integrations.record_store import FileRecordStore
from reconciler.integrations.runtimes.partials import Partial, Wanted
from tests.fakes import FixedClock

WATCHED = ("fsync", "rename", "replace")


@contextmanager
def watched() -> Iterator[list[str]]:
    """The calls that make things durable, in their order, as the interpreter makes them."""
    calls: list[str] = []

    def note(_: FrameType, event: str, arg: object) -> None:
        if event == "c_call" and getattr(arg, "__module__", "") == os.open.__module__:
            name = getattr(arg, "__name__", "")
            if name in WATCHED:
                calls.append(name)

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def test_a_record_is_flushed_before_it_takes_its_name_and_its_folder_after(tmp_path: Path) -> None:
    store = FileRecordStore(tmp_path, "box", FixedClock())
    await store.journal({"event": "begun"})
    with watched() as calls:
        await store.save(Record(name="box", generation=1))
    assert calls == ["fsync", "replace", "fsync"]


def test_a_line_of_the_journal_is_durable_when_it_is_written(tmp_path: Path) -> None:
    with watched() as calls:
        Journal(tmp_path / "journal.jsonl").append({"event": "begun"})
    assert calls == ["fsync"]


def test_a_download_is_flushed_before_it_takes_its_name_and_its_folder_after(tmp_path: Path) -> None:
    wanted = Wanted("https://hub.example/x", "c" * 40, "a" * 64, Bytes(4), "acme/x/y.gguf")
    with Partial(tmp_path / "partial", wanted) as partial:
        partial.write(0, bytearray(b"GGUF"))
        partial.written.add(0, 4)
        with watched() as calls:
            partial.checkpoint(partial.written)
        assert calls == ["fsync", "replace"], "what the state vouches for is on the disk"
        with watched() as calls:
            partial.finish(tmp_path / "store" / "y.gguf")
    assert calls == ["fsync", "replace", "fsync"]
