"""Stable names of a store: links that move in one step, never lead out, and are never counted as models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.domain.observation import Alias, ObservedTarget
from reconciler.errors import Refused
from reconciler.integrations.runtimes import store_names
from tests.integrations.runtimes.store_world import World, content, put, world

ONE, TWO = "org/one/one-Q8_0.gguf", "org/two/two-Q8_0.gguf"
BIG = "org/big/big-Q4_K_M-00001-of-00002.gguf"


@pytest.fixture
def here(tmp_path: Path) -> World:
    found = world(tmp_path)
    put(found.root, ONE, content(1000, seed=1))
    put(found.root, TWO, content(2000, seed=2))
    for shard in (1, 2):
        put(found.root, f"org/big/big-Q4_K_M-0000{shard}-of-00002.gguf", content(500, seed=10 + shard))
    return found


async def look(w: World) -> ObservedTarget:
    seen = await w.store.observe()
    assert isinstance(seen, ObservedTarget), seen
    return seen


def aliases(w: World) -> Path:
    return w.root / "aliases"


async def test_a_link_is_relative_and_counts_for_nothing(here: World) -> None:
    before = (await look(here)).installed
    assert await here.store.name("coder", ONE, context=4096) == Alias(name="coder", model=ONE)
    link = aliases(here) / "coder.gguf"
    assert os.readlink(link) == f"../{ONE}"  # noqa: PTH115 - as it is written
    assert (await look(here)).installed == before
    assert (await look(here)).aliases == (Alias(name="coder", model=ONE),)


async def test_a_model_of_several_files_is_a_folder_of_links_to_exactly_those(here: World) -> None:
    put(here.root, "org/big/another-Q8_0.gguf", content(700, seed=20))
    await here.store.name("big", BIG, context=None)
    folder = aliases(here) / "big"
    assert sorted(path.name for path in folder.iterdir()) == [
        "big-Q4_K_M-00001-of-00002.gguf",
        "big-Q4_K_M-00002-of-00002.gguf",
    ]
    assert (folder / "big-Q4_K_M-00002-of-00002.gguf").read_bytes() == content(500, seed=12)
    seen = await look(here)
    assert (len(seen.installed), seen.aliases) == (4, (Alias(name="big", model=BIG),))
    await here.store.remove(BIG)
    assert (await look(here)).aliases == (Alias(name="big"),)
    await here.store.unname("big")
    assert not list((here.root / store_names.SETS).iterdir())


async def test_a_name_changes_its_form_with_its_model(here: World) -> None:
    await here.store.name("coder", ONE, context=None)
    await here.store.name("coder", BIG, context=None)
    assert [path.name for path in aliases(here).iterdir()] == ["coder"]
    await here.store.name("coder", TWO, context=None)
    assert [path.name for path in aliases(here).iterdir()] == ["coder.gguf"]
    assert (await look(here)).aliases == (Alias(name="coder", model=TWO),)


async def test_both_forms_at_once_are_told_as_nothing_and_mended_by_the_next_move(here: World) -> None:
    await here.store.name("coder", BIG, context=None)
    (aliases(here) / "coder.gguf").symlink_to(f"../{ONE}")
    assert (await look(here)).aliases == (Alias(name="coder"),)
    await here.store.name("coder", ONE, context=None)
    assert (await look(here)).aliases == (Alias(name="coder", model=ONE),)


async def test_removing_a_model_never_follows_its_name(here: World) -> None:
    await here.store.name("coder", ONE, context=None)
    await here.store.remove(ONE)
    assert (aliases(here) / "coder.gguf").is_symlink()
    assert (await look(here)).aliases == (Alias(name="coder"),)
    assert (await look(here)).notes == ()
    assert await here.store.remove("aliases/coder.gguf") == 0
    assert (aliases(here) / "coder.gguf").is_symlink()
    assert (here.root / TWO).exists()


@pytest.mark.parametrize("made", ["file", "folder", "out", "far out"])
async def test_what_is_no_link_of_the_store_is_left_alone(here: World, tmp_path: Path, made: str) -> None:
    aliases(here).mkdir()
    place, outside = aliases(here) / "coder.gguf", tmp_path / "outside.gguf"
    outside.write_bytes(b"theirs")
    if made == "file":
        place.write_bytes(b"theirs")
    elif made == "folder":
        (aliases(here) / "coder").mkdir()
    else:
        place.symlink_to(outside if made == "out" else Path("../../../../../..") / outside.relative_to("/"))
    for step in (here.store.name("coder", ONE, context=None), here.store.unname("coder")):
        with pytest.raises(Refused) as raised:
            await step
        assert raised.value.code == "unmanaged-conflict"
    assert outside.read_bytes() == b"theirs"
    (seen,) = (await look(here)).aliases
    assert (seen.name, seen.model, seen.foreign) == ("coder", None, True)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "..", ".hidden", "nul", "a\0b", "x" * 300])
async def test_no_name_leads_out_of_its_folder(here: World, name: str) -> None:
    before = sorted(path.as_posix() for path in here.root.rglob("*"))
    for step in (here.store.name(name, ONE, context=None), here.store.unname(name)):
        with pytest.raises(Refused) as raised:
            await step
        assert raised.value.code == "bad-name"
    assert sorted(path.as_posix() for path in here.root.rglob("*")) == before


async def test_a_folder_of_names_that_is_a_link_itself_is_not_written_to(here: World, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    aliases(here).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused) as raised:
        await here.store.name("coder", ONE, context=None)
    assert raised.value.code == "outside-store"
    assert not list((tmp_path / "elsewhere").iterdir())


async def test_what_a_crash_left_half_made_is_not_seen_and_swept(here: World) -> None:
    await here.store.name("coder", ONE, context=None)
    stray = aliases(here) / ".coder.gguf.new"
    stray.symlink_to(f"../{TWO}")
    orphan = here.root / store_names.SETS / ("0" * 32)
    orphan.mkdir(parents=True)
    (orphan / "x.gguf").symlink_to("../../../nowhere.gguf")
    assert (await look(here)).aliases == (Alias(name="coder", model=ONE),)
    await here.store.clean_partials(frozenset())
    assert (stray.is_symlink(), orphan.exists()) == (False, False)
    assert (await look(here)).aliases == (Alias(name="coder", model=ONE),)
    stray.symlink_to(f"../{TWO}")
    await here.store.name("coder", TWO, context=None)
    assert (await look(here)).aliases == (Alias(name="coder", model=TWO),)


@pytest.mark.parametrize("entry", ["coder", "coder.gguf"])
@pytest.mark.parametrize("made", ["folder", "file", "link"])
async def test_what_takes_a_name_is_seen_before_anybody_wants_it(here: World, entry: str, made: str) -> None:
    await here.store.name("other", ONE, context=None)
    place = aliases(here) / entry
    if made == "folder":
        place.mkdir()
    elif made == "file":
        place.write_bytes(b"not a model")
    else:
        place.symlink_to("/elsewhere/model.gguf")
    what = {"folder": "the folder", "file": "the file", "link": "a link out of the store,"}[made]
    taken = Alias(name="coder", foreign=True, taken_by=f"{what} aliases/{entry}")
    assert (await look(here)).aliases == (taken, Alias(name="other", model=ONE))
