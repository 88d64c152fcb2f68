"""Adapters by content: nothing but what was promised gets a name, damage is seen, nothing escapes, leftovers go."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.domain.artifact import ArtifactFile, HubArtifact
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutOfSpace, OutsideError, Refused
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.adapter_shelf import AdapterShelf
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.integrations.runtimes.digest_cache import DigestCache, stamp_of
from reconciler.lora.adapter_content import AdapterContent, ContentFile, content_digest
from tests.fakes import FixedClock
from tests.integrations.runtimes.store_world import COMMIT, HUB, Source, content

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ME, YOU = "mine /a.yaml", "yours /b.yaml"


def quiet(done: Bytes, total: Bytes, note: str = "") -> None:
    """Nobody listens."""


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def store(tmp_path: Path, **how: object) -> LocalAdapterStore:
    def no_http() -> Http:
        raise AssertionError("nothing is fetched here")

    return LocalAdapterStore(tmp_path / "adapters", **{"http": no_http, "clock": FixedClock(), **how})  # type: ignore[arg-type]


def content_of(folder: Path, **files: bytes) -> AdapterContent:
    folder.mkdir(exist_ok=True)
    named = {name.replace("__", "."): body for name, body in files.items()}
    for name, body in named.items():
        (folder / name).write_bytes(body)
    held = tuple(ContentFile(name=name, bytes=Bytes(len(body)), sha256=sha(body)) for name, body in named.items())
    return AdapterContent(digest=content_digest(held), files=held, folder=str(folder))


def peft(tmp_path: Path, weights: bytes = b"weights") -> AdapterContent:
    return content_of(tmp_path / "source", adapter_config__json=b"{}", adapter_model__safetensors=weights)


async def test_a_folder_is_held_whole_under_its_digest_and_once(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    path = Path(await here.hold(wanted, ME, quiet))
    assert path == tmp_path / "adapters" / wanted.digest / "files"
    assert {each.name: each.read_bytes() for each in path.iterdir()} == {CONFIG: b"{}", WEIGHTS: b"weights"}
    inode = (path / WEIGHTS).stat().st_ino
    assert await here.hold(wanted, ME, quiet) == str(path)
    assert (path / WEIGHTS).stat().st_ino == inode
    assert [(one.digest, one.bytes) for one in await here.held()] == [(wanted.digest, 9)]


async def test_a_gguf_has_a_name_that_no_flag_gives_a_meaning(tmp_path: Path) -> None:
    body = b"GGUF"
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a:b,c=d.gguf").write_bytes(body)
    held = (ContentFile(name="a:b,c=d.gguf", bytes=Bytes(4), sha256=sha(body)),)
    path = await store(tmp_path).hold(
        AdapterContent(digest=content_digest(held), files=held, folder=str(folder)), ME, quiet
    )
    assert path.endswith("/files/adapter.gguf")


async def test_the_files_go_with_the_last_holder(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    await here.hold(wanted, ME, quiet)
    await here.hold(wanted, YOU, quiet)
    assert (await here.held())[0].holders == (ME, YOU)
    assert await here.drop(wanted.digest, ME) == 0
    assert await here.drop(wanted.digest, YOU) == 9
    assert (await here.held(), await here.drop(wanted.digest, YOU)) == ((), 0)
    assert list((tmp_path / "adapters" / ".new").iterdir()) == []


async def test_what_changed_since_it_was_looked_at_is_not_kept(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    for body in (b"others!", b"shorter", b"much longer than it was"):
        (tmp_path / "source" / WEIGHTS).write_bytes(body)
        with pytest.raises(Corrupt) as caught:
            await here.hold(wanted, ME, quiet)
        assert caught.value.code == "content-changed"
    assert not (tmp_path / "adapters" / wanted.digest / "files").exists()
    assert list((tmp_path / "adapters" / ".new").iterdir()) == []
    assert await here.drop(wanted.digest, ME) == 0
    assert await here.held() == ()


@pytest.mark.parametrize("damage", ["bytes", "missing", "more", "link", "folder-link"])
async def test_a_damaged_copy_is_made_again(tmp_path: Path, damage: str) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    path = Path(await here.hold(wanted, ME, quiet))
    if damage == "bytes":
        (path / WEIGHTS).write_bytes(b"weighty")
    elif damage == "missing":
        (path / CONFIG).unlink()
    elif damage == "more":
        (path / "adapter_model.bin").write_bytes(b"pickle")
    elif damage == "link":
        (path / WEIGHTS).unlink()
        (path / WEIGHTS).symlink_to(tmp_path / "source" / WEIGHTS)
    else:
        moved = path.rename(tmp_path / "moved")
        path.symlink_to(moved)
    again = Path(await here.hold(wanted, ME, quiet))
    assert {each.name for each in again.iterdir()} == {CONFIG, WEIGHTS}
    assert not again.is_symlink()
    assert not (again / WEIGHTS).is_symlink()
    assert (again / WEIGHTS).read_bytes() == b"weights"


@pytest.mark.parametrize(
    "name", ["../x.gguf", "/etc/x.gguf", "a/b.gguf", "..", "", "adapter\0.gguf", "x.py", "adapter_config.json/../x"]
)
async def test_no_name_escapes(tmp_path: Path, name: str) -> None:
    held = (ContentFile(name=name, bytes=Bytes(1), sha256=sha(b"x")),)
    wanted = AdapterContent(digest=content_digest(held), files=held, folder=str(tmp_path))
    with pytest.raises(Refused):
        await store(tmp_path).hold(wanted, ME, quiet)
    assert list(tmp_path.rglob("*")) == []


@given(digest=st.text(max_size=70), key=st.text(max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_digest_or_key_escapes(tmp_path: Path, digest: str, key: str) -> None:
    async def tried() -> None:
        async def make(out: str) -> None:
            await asyncio.to_thread(Path(out).write_bytes, b"made")

        here = store(tmp_path)
        for attempt in (lambda: here.drop(digest, ME), lambda: here.converted(digest, key, make)):
            with suppress(Refused):
                await attempt()

    asyncio.run(tried())
    outside = [path for path in tmp_path.iterdir() if path.name != "adapters"]
    assert outside == []


async def test_links_in_a_circle_devices_and_folders_are_refused(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    place = tmp_path / "source" / WEIGHTS
    for make in (lambda: place.symlink_to(place), lambda: os.mkfifo(place), place.mkdir):
        place.unlink() if place.is_symlink() or place.exists() else None
        make()
        with pytest.raises(OutsideError):
            await here.hold(wanted, ME, quiet)
    assert not (tmp_path / "adapters" / wanted.digest / "files").exists()


async def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path) -> None:
    here, wanted = store(tmp_path, reserve_bytes=lambda total: total), peft(tmp_path)
    with pytest.raises(OutOfSpace):
        await here.hold(wanted, ME, quiet)
    assert not (tmp_path / "adapters" / wanted.digest / "files").exists()


async def test_what_a_killed_run_left_is_swept_and_what_somebody_works_on_is_not(tmp_path: Path) -> None:
    here = store(tmp_path)
    await here.hold(peft(tmp_path), ME, quiet)
    drafts = tmp_path / "adapters" / ".new"
    (drafts / "dead").mkdir()
    (drafts / "dead" / WEIGHTS).write_bytes(b"half")
    (drafts / "alive").mkdir()
    descriptor = os.open(drafts / "alive", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    await here.sweep()
    assert [each.name for each in drafts.iterdir()] == ["alive"]
    os.close(descriptor)
    await here.sweep()
    assert list(drafts.iterdir()) == []


async def test_what_is_made_from_one_is_made_once_and_again_when_it_is_damaged(tmp_path: Path) -> None:
    here, wanted, made = store(tmp_path), peft(tmp_path), []
    await here.hold(wanted, ME, quiet)

    async def make(out: str) -> None:
        made.append(out)
        await asyncio.to_thread(Path(out).write_bytes, b"GGUF made")

    path = await here.converted(wanted.digest, "conv-f16", make)
    assert path == await here.converted(wanted.digest, "conv-f16", make)
    assert len(made) == 1
    Path(path).write_bytes(b"GGUF bad!")
    assert path == await here.converted(wanted.digest, "conv-f16", make)
    assert Path(path).read_bytes() == b"GGUF made"
    await here.converted(wanted.digest, "other-f16", make)
    assert len(made) == 3
    assert await here.drop(wanted.digest, ME) > 18


async def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    await here.hold(wanted, ME, quiet)

    async def fail(out: str) -> None:
        await asyncio.to_thread(Path(out).write_bytes, b"half")
        raise Refused("no", code="conversion-failed")

    with pytest.raises(Refused):
        await here.converted(wanted.digest, "conv-f16", fail)
    assert not (tmp_path / "adapters" / wanted.digest / "made").exists()
    assert list((tmp_path / "adapters" / ".new").iterdir()) == []


async def test_two_at_once_hold_one_copy(tmp_path: Path) -> None:
    here, there, wanted = store(tmp_path), store(tmp_path), peft(tmp_path, content(300_000))
    found = await asyncio.gather(here.hold(wanted, ME, quiet), there.hold(wanted, YOU, quiet))
    assert found[0] == found[1]
    assert (await here.held())[0].holders == (ME, YOU)


async def test_another_holder_keeps_what_is_held_and_makes_nothing(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    await here.keep(wanted.digest, YOU)
    assert await here.held() == ()
    await here.hold(wanted, ME, quiet)
    await here.keep(wanted.digest, YOU)
    assert (await here.drop(wanted.digest, ME), (await here.held())[0].holders) == (0, (YOU,))
    assert await here.drop(wanted.digest, YOU) > 0


async def test_what_another_run_made_meanwhile_stays_for_a_server_may_read_it(tmp_path: Path) -> None:
    here, there, wanted = store(tmp_path), store(tmp_path), peft(tmp_path)
    await here.hold(wanted, ME, quiet)
    stands: list[int] = []

    async def write(out: str) -> None:
        await asyncio.to_thread(Path(out).write_bytes, b"made")

    async def outrun(out: str) -> None:
        stands.append(Path(await there.converted(wanted.digest, "conv-f16", write)).stat().st_ino)
        await write(out)

    made = await here.converted(wanted.digest, "conv-f16", outrun)
    assert [Path(made).stat().st_ino] == stands
    assert list((tmp_path / "adapters" / ".new").iterdir()) == []


def test_a_draft_that_has_gone_takes_nothing_with_it(tmp_path: Path) -> None:
    shelf, digest = AdapterShelf(tmp_path / "adapters"), "a" * 64
    shelf.mark(digest, ME)
    place = shelf.place(digest) / "files"
    for body in ("one", "two"):
        with shelf.draft(digest) as draft:
            (draft / CONFIG).write_text(body)
            shelf.put(draft, place, is_whole=lambda: False)
        assert (place / CONFIG).read_text() == body
    with pytest.raises(OutsideError):
        shelf.put(draft, place, is_whole=lambda: False)
    assert (place / CONFIG).read_text() == "two"


def remote(source: Source, **files: bytes) -> AdapterContent:
    named = {name.replace("__", "."): body for name, body in files.items()}
    listed = tuple(ArtifactFile(path=name, bytes=Bytes(len(body)), sha256=sha(body)) for name, body in named.items())
    artifact = HubArtifact(endpoint=HUB, repo="acme/sql", commit=COMMIT, files=listed)
    for file in listed:
        source.files[artifact.url(file).removeprefix(HUB)] = named[file.path]
    held = tuple(ContentFile(name=one.path, bytes=one.bytes, sha256=one.sha256) for one in listed)
    return AdapterContent(digest=content_digest(held), files=held, artifact=artifact)


async def test_a_hub_adapter_is_fetched_and_verified(tmp_path: Path) -> None:
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=content(200_000))
    here = store(
        tmp_path, http=lambda: Http(clock=FixedClock(), transport=httpx.MockTransport(source)), hub_endpoint=HUB
    )
    path = Path(await here.hold(wanted, ME, quiet))
    assert sha((path / WEIGHTS).read_bytes()) == wanted.files[1].sha256
    assert await store(tmp_path).find("acme/sql", COMMIT) == (wanted, str(path))
    assert await here.find("acme/sql", "d" * 40) is None
    (path / CONFIG).write_bytes(b"[]")
    assert await here.find("acme/sql", COMMIT) is None, "damage is nobody's answer"
    (path.parent / "origin.json").write_bytes(b"{")
    assert await here.find("acme/sql", COMMIT) is None
    assert list((tmp_path / "adapters" / ".partial").glob("*.partial")) == []


async def test_what_is_held_is_read_whole_once_and_again_when_it_was_touched(tmp_path: Path) -> None:
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=content(200_000))
    web = Http(clock=FixedClock(), transport=httpx.MockTransport(source))
    here = store(tmp_path, http=lambda: web, hub_endpoint=HUB, cache_directory=tmp_path / "cache")
    path = Path(await here.hold(wanted, ME, quiet))
    assert await here.find("acme/sql", COMMIT) == (wanted, str(path))
    known = DigestCache(tmp_path / "cache")
    assert [known.get(each, stamp_of(each.stat())) is not None for each in path.iterdir()] == [True, True]
    (path / WEIGHTS).write_bytes(content(200_000, seed=9))
    assert await store(tmp_path, cache_directory=tmp_path / "cache").find("acme/sql", COMMIT) is None


async def test_wrong_bytes_of_a_hub_never_get_a_name(tmp_path: Path) -> None:
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=content(200_000))
    for path in source.files:
        if path.endswith(WEIGHTS):
            source.files[path] = content(200_000, seed=9)
    here = store(
        tmp_path, http=lambda: Http(clock=FixedClock(), transport=httpx.MockTransport(source)), hub_endpoint=HUB
    )
    with pytest.raises(Corrupt):
        await here.hold(wanted, ME, quiet)
    assert not (tmp_path / "adapters" / wanted.digest / "files").exists()


async def test_it_tells_the_disk_it_writes_to_before_it_is_there(tmp_path: Path) -> None:
    told = await store(tmp_path / "not" / "made").disk()
    assert told is not None
    assert (told.device, told.total_bytes > told.free_bytes >= 0) == (str(tmp_path.stat().st_dev), True)
