"""Who holds an adapter's files: written down whole or not at all, and what nobody holds any more goes with the next sweep."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reconciler.domain.units import Bytes
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.lora.adapter_content import AdapterContent, ContentFile, content_digest
from tests.fakes import FixedClock

ME, OTHER = "lab /here", "other /there"


def store(folder: Path) -> LocalAdapterStore:
    def nobody() -> object:
        raise AssertionError("nothing is fetched")

    return LocalAdapterStore(folder / "adapters", http=nobody, clock=FixedClock())  # type: ignore[arg-type]


def quiet(*_: object) -> None:
    """Nobody watches."""


async def held(folder: Path, *holders: str) -> Path:
    """What stands under the digest of an adapter."""
    source = folder / "sql.gguf"
    source.write_bytes(b"GGUF" * 100)
    sha = hashlib.sha256(source.read_bytes()).hexdigest()
    file = ContentFile(name=source.name, bytes=Bytes(source.stat().st_size), sha256=sha)
    content = AdapterContent(digest=content_digest([file]), files=(file,), folder=str(folder))
    for holder in holders:
        await store(folder).hold(content, holder, quiet)
    return folder / "adapters" / content.digest


async def test_what_a_run_let_go_of_and_did_not_live_to_remove_is_swept(tmp_path: Path) -> None:
    place = await held(tmp_path, ME)
    (mark,) = (place / "holders").iterdir()
    mark.unlink()
    await store(tmp_path).sweep()
    assert not place.exists()
    assert list((tmp_path / "adapters" / ".new").iterdir()) == []


@pytest.mark.parametrize("written", [b"", ME.encode()[:4]])
async def test_a_holder_that_was_not_written_down_whole_holds_nothing(tmp_path: Path, written: bytes) -> None:
    place = await held(tmp_path, ME)
    (mark,) = (place / "holders").iterdir()
    mark.write_bytes(written)
    await store(tmp_path).sweep()
    assert not place.exists()


async def test_what_anybody_holds_is_not_swept(tmp_path: Path) -> None:
    place = await held(tmp_path, ME, OTHER)
    await store(tmp_path).drop(place.name, ME)
    await store(tmp_path).sweep()
    assert [one.holders for one in await store(tmp_path).held()] == [(OTHER,)]
    assert (place / "files" / "adapter.gguf").is_file()
