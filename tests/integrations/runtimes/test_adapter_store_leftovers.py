"""What lies about in an adapter store beside what it holds: told from what is held, made again, taken away, never followed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path

import httpx
import pytest

from reconciler.domain.units import Bytes
from reconciler.errors import OutOfSpace, OutsideError, Refused
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.partials import Partial, Ranges, Wanted
from reconciler.lora.adapter_content import AdapterContent, ContentFile, content_digest
from tests.fakes import FixedClock
from tests.integrations.runtimes.store_world import COMMIT, HUB, SEGMENT, Source, content
from tests.integrations.runtimes.test_adapter_store import (
    CONFIG,
    ME,
    WEIGHTS,
    YOU,
    content_of,
    peft,
    quiet,
    remote,
    sha,
    store,
)

KEY = "conv-f16"


def over(source: Source) -> dict[str, object]:
    return {"http": lambda: Http(clock=FixedClock(), transport=httpx.MockTransport(source)), "hub_endpoint": HUB}


def left(tmp_path: Path) -> list[str]:
    return sorted(each.name for each in (tmp_path / "adapters" / ".new").iterdir())


async def test_damage_that_is_made_good_leaves_nothing_beside_it(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    path = Path(await here.hold(wanted, ME, quiet))
    (path / WEIGHTS).write_bytes(b"weighty")
    await here.hold(wanted, ME, quiet)
    assert left(tmp_path) == []
    assert [one.bytes for one in await here.held()] == [9], "what stood there is not counted"


async def test_an_adapter_of_no_file_is_none(tmp_path: Path) -> None:
    nothing = AdapterContent(digest=content_digest(()), files=(), folder=str(tmp_path))
    with pytest.raises(Refused, match="one GGUF file, or a folder"):
        await store(tmp_path).hold(nothing, ME, quiet)
    assert not (tmp_path / "adapters").exists()


async def test_two_gguf_files_are_no_adapter(tmp_path: Path) -> None:
    two = content_of(tmp_path / "source", a__gguf=b"GGUF", b__gguf=b"GGUF2")
    with pytest.raises(Refused, match="one GGUF file, or a folder"):
        await store(tmp_path).hold(two, ME, quiet)


@pytest.mark.parametrize("what", ["file", "folder", "seal"])
async def test_what_was_made_is_made_again_where_it_is_a_link_or_unsealed(tmp_path: Path, what: str) -> None:
    """Somebody's link may point at other bytes the next moment; without its seal nothing says what it was."""
    here, wanted, made = store(tmp_path), peft(tmp_path), []
    await here.hold(wanted, ME, quiet)

    async def make(out: str) -> None:
        made.append(out)
        await asyncio.to_thread(Path(out).write_bytes, b"GGUF made")

    path = Path(await here.converted(wanted.digest, KEY, make))
    if what == "file":
        moved = path.rename(tmp_path / "moved.gguf")
        path.symlink_to(moved)
    elif what == "folder":
        moved = path.parent.rename(tmp_path / "moved")
        path.parent.symlink_to(moved)
    else:
        (path.parent / "sha256").unlink()
    assert Path(await here.converted(wanted.digest, KEY, make)) == path
    assert (len(made), path.is_symlink(), path.parent.is_symlink()) == (2, False, False)
    assert path.read_bytes() == b"GGUF made"
    if what == "file":
        assert (tmp_path / "moved.gguf").read_bytes() == b"GGUF made", "what the link meant stays"


@pytest.mark.parametrize("key", ["", "../x", "a/b", "A", "-a", "a" * 122, "ä"])
async def test_no_key_escapes(tmp_path: Path, key: str) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    await here.hold(wanted, ME, quiet)

    async def never(_: str) -> None:
        raise AssertionError

    with pytest.raises(Refused) as caught:
        await here.converted(wanted.digest, key, never)
    assert caught.value.code == "bad-name"


async def test_progress_of_several_files_goes_on_to_the_whole(tmp_path: Path) -> None:
    heard: list[tuple[int, int, str]] = []
    wanted = peft(tmp_path, content(3 * 2**20))
    await store(tmp_path).hold(wanted, ME, lambda done, total, note="": heard.append((done, total, note)))
    await asyncio.sleep(0)
    done = [one[0] for one in heard]
    assert done == sorted(done)
    assert (done[0], done[-1], {one[1] for one in heard}) == (2, wanted.bytes, {wanted.bytes})
    assert {one[2] for one in heard[:-1]} == {"copying"}
    assert len(done) > 3


async def test_progress_of_fetched_files_goes_on_to_the_whole(tmp_path: Path) -> None:
    heard: list[int] = []
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}" * 100, adapter_model__safetensors=content(200_000))
    await store(tmp_path, **over(source)).hold(wanted, ME, lambda done, total, note="": heard.append(done))
    assert heard == [200, wanted.bytes, wanted.bytes]


async def test_a_download_that_broke_off_goes_on_where_it_was(tmp_path: Path) -> None:
    source = Source({})
    body = content(SEGMENT + 1000)
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=body)
    here = store(tmp_path, **over(source))
    served_half: list[httpx.Request] = []

    def broken(request: httpx.Request, served: Source) -> httpx.Response | None:
        if not request.url.path.endswith(WEIGHTS):
            return None
        if served_half:
            return httpx.Response(503)
        served_half.append(request)
        return served.honest(request, cut=SEGMENT // 2, broken=True)

    source.faults = [broken] * 200
    with pytest.raises(OutsideError):
        await here.hold(wanted, ME, quiet)
    assert left(tmp_path) == []
    assert [each.suffix for each in (tmp_path / "adapters" / ".partial").glob("*.partial")] == [".partial"]
    before = source.sent
    source.faults = []
    path = Path(await here.hold(wanted, ME, quiet))
    assert (path / WEIGHTS).read_bytes() == body
    assert source.sent - before < len(body), "what had arrived was not fetched again"
    assert list((tmp_path / "adapters" / ".partial").glob("*.partial")) == []


async def test_links_and_files_in_a_store_are_nobody_s_adapter(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    await here.hold(wanted, ME, quiet)
    (tmp_path / "adapters" / ("b" * 64)).symlink_to(tmp_path / "adapters" / wanted.digest)
    (tmp_path / "adapters" / "notes").mkdir()
    assert [one.digest for one in await here.held()] == [wanted.digest]
    assert await here.drop("b" * 64, ME) == 0
    assert (tmp_path / "adapters" / wanted.digest / "files" / WEIGHTS).exists()


async def test_sweeping_where_nothing_was_ever_held(tmp_path: Path) -> None:
    here = store(tmp_path)
    await here.sweep()
    assert not (tmp_path / "adapters").exists()
    await here.hold(peft(tmp_path), ME, quiet)
    drafts = tmp_path / "adapters" / ".new"
    (drafts / "file").write_bytes(b"x")
    (drafts / "link").symlink_to(tmp_path / "source")
    await here.sweep()
    assert left(tmp_path) == []
    assert (tmp_path / "source" / WEIGHTS).exists(), "what a link means is not ours"


async def test_a_download_that_nobody_goes_on_with_goes_after_a_week(tmp_path: Path) -> None:
    folder, now = tmp_path / "adapters" / ".partial", FixedClock().now().timestamp()
    folder.mkdir(parents=True)
    for letter, days in (("a", 6.9), ("b", 7.1), ("c", 7.1)):
        for suffix in (".partial", ".json"):
            (folder / f"{letter * 64}{suffix}").write_bytes(b"half")
            os.utime(folder / f"{letter * 64}{suffix}", (now - days * 86400,) * 2)
    descriptor = os.open(folder / f"{'c' * 64}.partial", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    await store(tmp_path).sweep()
    assert sorted(each.name[0] + each.suffix for each in folder.iterdir()) == [
        "a.json", "a.partial", "c.json", "c.partial",
    ], "another may be at it this moment"  # fmt: skip
    os.close(descriptor)
    await store(tmp_path).sweep()
    assert sorted(each.name[0] for each in folder.iterdir()) == ["a", "a"]


async def test_what_is_held_is_found_by_repository_and_commit_alike(tmp_path: Path) -> None:
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=content(2000))
    here = store(tmp_path, **over(source))
    assert await here.find("acme/sql", COMMIT) is None
    path = await here.hold(wanted, ME, quiet)
    assert await here.find("acme/other", COMMIT) is None
    assert await here.find("acme/sql", COMMIT) == (wanted, path)
    elsewhere = tmp_path / "adapters" / ("b" * 64)
    elsewhere.mkdir()
    (Path(path).parent / "origin.json").rename(elsewhere / "origin.json")
    assert await here.find("acme/sql", COMMIT) is None, "a note counts where it stands"


async def test_a_copy_of_this_host_is_of_no_repository_and_recalled_by_its_digest(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    path = await here.hold(wanted, ME, quiet)
    assert sorted(each.name for each in Path(path).parent.iterdir()) == ["files", "holders", "origin.json"]
    assert await here.recall(wanted.digest) == (wanted, path)
    assert await here.recall("b" * 64) is None


async def test_a_gguf_is_recalled_by_what_its_source_called_it(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "sql.gguf").write_bytes(b"GGUF")
    files = (ContentFile(name="sql.gguf", bytes=Bytes(4), sha256=sha(b"GGUF")),)
    wanted = AdapterContent(digest=content_digest(files), files=files, folder=str(tmp_path / "source"))
    here = store(tmp_path)
    path = Path(await here.hold(wanted, ME, quiet))
    shutil.rmtree(tmp_path / "source")
    assert await here.recall(wanted.digest) == (wanted, str(path))
    assert await here.hold(wanted, YOU, quiet) == str(path), "nobody reads the source of what is whole"
    path.write_bytes(b"GGUX")
    assert await here.recall(wanted.digest) is None, "what is damaged stands in for nothing"


async def test_a_note_of_other_content_recalls_nothing(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    note = Path(await here.hold(wanted, ME, quiet)).parent / "origin.json"
    for wrong in (b"", b"[]", note.read_bytes().replace(wanted.digest.encode(), b"b" * 64)):
        note.write_bytes(wrong)
        assert await here.recall(wanted.digest) is None
    await here.hold(wanted, ME, quiet)
    assert await here.recall(wanted.digest) is not None


async def test_only_what_is_whole_counts_as_made(tmp_path: Path) -> None:
    async def make(out: str) -> None:
        Path(out).write_bytes(b"GGUF")

    here, wanted = store(tmp_path), peft(tmp_path)
    assert await here.made(wanted.digest) == ()
    await here.hold(wanted, ME, quiet)
    await here.converted(wanted.digest, "ab-f16", make)
    damaged = await here.converted(wanted.digest, "cd-f16", make)
    assert await here.made(wanted.digest) == ("ab-f16", "cd-f16")
    Path(damaged).write_bytes(b"GGUX")
    assert await here.made(wanted.digest) == ("ab-f16",)


async def test_what_is_half_fetched_is_told_by_digest_and_needs_no_room_twice(tmp_path: Path) -> None:
    body = content(200_000)
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=body)
    half = Wanted("http://127.0.0.1/x", COMMIT, wanted.files[1].sha256, Bytes(200_000), wanted.digest)
    with Partial(tmp_path / "adapters" / ".partial", half) as partial:
        partial.write(0, body[:150_000])
        partial.checkpoint(Ranges([(0, 150_000)]))
    free = shutil.disk_usage(tmp_path).free
    here = store(tmp_path, reserve_bytes=lambda _: free * 10, **over(source))
    (told,) = await here.half_fetched()
    assert (told.name, 150_000 <= told.bytes < 200_000) == (wanted.digest, True)
    with pytest.raises(OutOfSpace) as short:
        await here.hold(wanted, ME, quiet)
    assert short.value.details["neededBytes"] == 50_002
    await store(tmp_path, **over(source)).hold(wanted, ME, quiet)
    assert await here.half_fetched() == ()


async def test_a_second_holder_that_comes_while_the_first_goes_keeps_the_files(tmp_path: Path) -> None:
    here, wanted = store(tmp_path), peft(tmp_path)
    await here.hold(wanted, ME, quiet)
    await asyncio.gather(here.hold(wanted, YOU, quiet), here.drop(wanted.digest, ME))
    (held,) = await here.held()
    assert held.holders == (YOU,)
    path = Path(await here.hold(wanted, YOU, quiet))
    assert sha((path / CONFIG).read_bytes()) == wanted.files[0].sha256


async def test_what_a_run_wrote_is_the_size_that_is_told_and_freed(tmp_path: Path) -> None:
    """Our own notes beside it do not count."""
    source = Source({})
    wanted = remote(source, adapter_config__json=b"{}", adapter_model__safetensors=content(2000))
    here = store(tmp_path, **over(source))
    await here.hold(wanted, ME, quiet)
    (held,) = await here.held()
    assert (held.bytes, await here.drop(wanted.digest, ME)) == (2002, Bytes(2002))
