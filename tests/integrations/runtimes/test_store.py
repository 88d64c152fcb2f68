"""The store: what it sees, installs, replaces and removes, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.desired import Limits, Target
from reconciler.domain.observation import Installed, ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action
from reconciler.domain.units import Bytes
from reconciler.errors import OutOfSpace, Refused, UsageError
from reconciler.integrations.runtimes.digest_cache import stamp_of
from reconciler.integrations.runtimes.partials import Partial, Wanted
from reconciler.integrations.runtimes.store import Store
from tests.fakes import FixedClock
from tests.integrations.runtimes.store_world import HUB, NAME, REPO, World, content, put, row, sha, world

FILE = "tiny-Q8_0.gguf"
BODY = content(100_000)
SHARDS = {f"Q4_K_M/big-Q4_K_M-0000{n}-of-00003.gguf": content(50_000, seed=n) for n in (1, 2, 3)}


async def look(w: World) -> ObservedTarget:
    seen = await w.store.observe()
    assert isinstance(seen, ObservedTarget), seen
    return seen


async def one(w: World) -> Installed:
    (installed,) = (await look(w)).installed
    return installed


# ------------------------------------------------------------------ observe


async def test_a_missing_folder_is_an_empty_store(tmp_path: Path) -> None:
    w = world(tmp_path)
    seen = await look(w)
    assert (seen.installed, seen.partial_bytes, seen.partial_names) == ((), 0, ())
    assert seen.disk is not None
    assert seen.disk.total_bytes > seen.disk.free_bytes > 0
    assert not w.root.exists()
    assert seen.key == f"store|{w.root}"


@pytest.mark.parametrize("path", ["/mnt/not-there/models", "/media/someone/models", "/not-there/models"])
async def test_an_unmounted_disk_is_unknown_not_empty(tmp_path: Path, path: str) -> None:
    store = store_at(path, tmp_path)
    seen = await store.observe()
    assert isinstance(seen, UnknownTarget)
    assert "mounted" in seen.reason
    assert seen.hint
    with pytest.raises(Refused):
        await store.install(row({FILE: BODY}), lambda *_: None)


@pytest.mark.parametrize("below", ["", "models"])
async def test_a_link_to_a_disk_that_is_not_there_is_unknown(tmp_path: Path, below: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    seen = await store_at(str(tmp_path / "link" / below), tmp_path).observe()
    assert isinstance(seen, UnknownTarget)
    assert "leads nowhere" in seen.reason


async def test_a_file_where_the_folder_should_be_is_unknown(tmp_path: Path) -> None:
    w = world(tmp_path)
    w.root.write_bytes(b"")
    seen = await w.store.observe()
    assert isinstance(seen, UnknownTarget)
    assert "not a folder" in seen.reason


async def test_an_unreadable_folder_is_unknown_even_deep_inside() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        w = world(Path(folder))
        put(w.root, NAME)
        inner = put(w.root, "other/repo/x.gguf").parent
        inner.chmod(0)
        was = os.geteuid()
        try:
            if was == 0:  # root may read everything
                os.seteuid(65_534)
            seen = await w.store.observe()
        finally:
            os.seteuid(was)
            inner.chmod(0o755)
    assert isinstance(seen, UnknownTarget)
    assert "Permission denied" in seen.reason


@pytest.mark.parametrize("path", [None, "relative/store", ""])
def test_a_store_needs_an_absolute_path(tmp_path: Path, path: str | None) -> None:
    with pytest.raises(UsageError):
        store_at(path, tmp_path)


async def test_sees_models_with_repo_quant_and_shards(tmp_path: Path) -> None:
    w = world(tmp_path)
    put(w.root, NAME, b"12345")
    for path, body in SHARDS.items():
        put(w.root, f"{REPO}/{path}", body)
    put(w.root, "loose-Q4_0.gguf")
    put(w.root, f"{REPO}/mmproj-F16.gguf")
    put(w.root, f"{REPO}/README.md")
    put(w.root, f"{REPO}/half.gguf.partial")
    put(w.root, ".cache/hidden/repo/x.gguf")
    loose, sharded, tiny = (await look(w)).installed
    assert (tiny.name, tiny.bytes, tiny.repo, tiny.quant, tiny.loaded) == (NAME, 5, REPO, "Q8_0", False)
    assert (loose.name, loose.repo, loose.quant) == ("loose-Q4_0.gguf", None, "Q4_0")
    assert sharded.name == f"{REPO}/Q4_K_M/big-Q4_K_M-00001-of-00003.gguf"
    assert (sharded.bytes, sharded.quant, len(sharded.files)) == (150_000, "Q4_K_M", 3)
    assert sharded.digest is None
    status = (w.root / NAME).stat()
    assert tiny.stamp == f"5:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"


async def test_a_shard_set_with_holes_is_a_note_not_a_model(tmp_path: Path) -> None:
    w = world(tmp_path)
    put(w.root, f"{REPO}/{next(iter(SHARDS))}")
    seen = await look(w)
    assert seen.installed == ()
    assert seen.notes == (f"{REPO}/Q4_K_M/big-Q4_K_M: 1 of 3 shards are there; it is not counted as installed",)


async def test_links_are_seen_but_loops_and_broken_ones_do_no_harm(tmp_path: Path) -> None:
    w = world(tmp_path)
    outside = put(tmp_path, "elsewhere/model-Q4_0.gguf", b"1234567")
    (w.root / "a" / "b").mkdir(parents=True)
    (w.root / "a" / "b" / "linked-Q4_0.gguf").symlink_to(outside)
    (w.root / "a" / "b" / "broken-Q4_0.gguf").symlink_to(tmp_path / "nowhere")
    (w.root / "a" / "loop").symlink_to(w.root)
    (w.root / "self.gguf").symlink_to(w.root / "self.gguf")
    seen = await look(w)
    assert [(each.name, each.bytes) for each in seen.installed] == [("a/b/linked-Q4_0.gguf", 7)]
    assert len(seen.notes) == 2


async def test_bytes_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    w = world(tmp_path)
    folder = put(w.root, NAME).parent
    (folder / os.fsdecode(b"\xff.gguf")).touch()
    seen = await look(w)
    assert [each.name for each in seen.installed] == [NAME]
    assert "passed over" in seen.notes[0]
    assert seen.model_dump_json()


async def test_an_open_file_counts_as_loaded_and_is_not_removed(tmp_path: Path) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc: open files of others are seen on Linux only")
    w = world(tmp_path)
    path = put(w.root, NAME, b"x" * 8192)
    code = (
        "import mmap,sys; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ);"
        "f.close() if sys.argv[2]=='mapped' else None; print('open',flush=True); sys.stdin.read()"
    )
    for how in ("mapped", "opened"):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            assert (await one(w)).loaded
            with pytest.raises(Refused) as caught:
                await w.store.remove(NAME)
            other.communicate()
        assert caught.value.code == "in-use"
    assert not (await one(w)).loaded
    assert await w.store.remove(NAME) == 8192


# ------------------------------------------------------------------- digest


async def test_digest_reads_whole_once_and_is_then_known_by_a_look(tmp_path: Path) -> None:
    w = world(tmp_path)
    path = put(w.root, NAME, BODY)
    assert (await one(w)).digest is None
    digest, stamp = await w.store.digest(NAME, w.told)
    assert digest == sha(BODY)
    seen = await one(w)
    assert (seen.digest, seen.stamp) == (digest, stamp)
    path.write_bytes(BODY[::-1])
    assert (await one(w)).digest is None
    assert (await w.store.digest(NAME, w.told))[0] == sha(BODY[::-1])


async def test_digest_of_shards_is_joined_in_order(tmp_path: Path) -> None:
    w = world(tmp_path)
    for path, body in SHARDS.items():
        put(w.root, f"{REPO}/{path}", body)
    digest, _ = await w.store.digest(f"{REPO}/{next(iter(SHARDS))}", w.told)
    assert digest == "+".join(sha(body) for body in SHARDS.values())


@pytest.mark.parametrize("name", ["no/such/model.gguf", "../../etc/passwd", ""])
async def test_digest_of_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused) as caught:
        await world(tmp_path).store.digest(name, lambda *_: None)
    assert caught.value.code == "not-found"


async def test_the_cache_may_be_deleted_or_damaged(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: BODY})
    installed = await w.store.install(row({FILE: BODY}), w.told)
    cache = tmp_path / "cache" / "store-digests.json"
    for damage in (b"", b"null", b'{"files": {"x": 3}}', b"\xff"):
        cache.write_bytes(damage)
        seen = await one(world(tmp_path))
        assert (seen.digest, seen.stamp) == (None, installed.stamp)
    assert (await world(tmp_path).store.digest(NAME, w.told))[0] == sha(BODY)


# ------------------------------------------------------------------ install


async def test_install_then_observe_then_install_again(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: BODY})
    installed = await w.store.install(row({FILE: BODY}), w.told)
    assert installed == await one(w)
    assert (installed.digest, installed.repo, installed.quant) == (sha(BODY), REPO, "Q8_0")
    asked = len(w.source.asked)
    assert await w.store.install(row({FILE: BODY}), w.told) == installed
    assert len(w.source.asked) == asked


async def test_a_foreign_file_with_the_right_content_is_not_fetched(tmp_path: Path) -> None:
    w = world(tmp_path)
    put(w.root, NAME, BODY)
    assert (await w.store.install(row({FILE: BODY}), w.told)).digest == sha(BODY)
    assert w.source.asked == []


async def test_a_foreign_file_with_other_content_is_not_replaced(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: BODY})
    path = put(w.root, NAME, b"somebody's")
    with pytest.raises(Refused) as caught:
        await w.store.install(row({FILE: BODY}), w.told)
    assert caught.value.code == "unmanaged-conflict"
    assert path.read_bytes() == b"somebody's"
    assert w.source.asked == []


async def test_update_replaces_only_when_the_new_content_is_verified(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: b"x" * len(BODY)})
    path = put(w.root, NAME, b"old")
    with pytest.raises(Exception, match="SHA-256"):
        await w.store.install(row({FILE: BODY}, action=Action.UPDATE), w.told)
    assert path.read_bytes() == b"old"
    w = world(tmp_path, {FILE: BODY})
    assert (await w.store.install(row({FILE: BODY}, action=Action.UPDATE), w.told)).digest == sha(BODY)
    assert path.read_bytes() == BODY


async def test_shards_come_and_go_as_one(tmp_path: Path) -> None:
    w = world(tmp_path, SHARDS)
    installed = await w.store.install(row(SHARDS), w.told)
    assert installed.digest == "+".join(sha(body) for body in SHARDS.values())
    assert len((await one(w)).files) == 3
    assert await w.store.remove(installed.name) == 150_000
    assert not (w.root / "org").exists()


async def test_a_missing_shard_alone_is_fetched_again(tmp_path: Path) -> None:
    w = world(tmp_path, SHARDS)
    installed = await w.store.install(row(SHARDS), w.told)
    (w.root / REPO / list(SHARDS)[1]).unlink()
    assert (await look(w)).installed == ()
    before = w.source.sent
    assert (await w.store.install(row(SHARDS), w.told)).digest == installed.digest
    assert w.source.sent - before == 50_000


async def test_nothing_of_a_set_appears_until_all_of_it_is_verified(tmp_path: Path) -> None:
    names = list(SHARDS)
    w = world(tmp_path, {**SHARDS, names[2]: b"bad".ljust(50_000)})
    with pytest.raises(Exception, match="SHA-256"):
        await w.store.install(row(SHARDS), w.told)
    assert not (w.root / "org").exists()
    assert (await look(w)).partial_names == (f"{REPO}/{names[0]}",)
    again = world(tmp_path, SHARDS)
    await again.store.install(row(SHARDS), w.told)
    assert again.source.sent == 50_000


async def test_a_projector_belongs_to_the_model_it_came_with(tmp_path: Path) -> None:
    projector = {"mmproj-F16.gguf": content(7_000, seed=9)}
    first, second = {FILE: BODY, **projector}, {"tiny-Q4_0.gguf": content(60_000), **projector}
    w = world(tmp_path, {**first, **second})
    one_ = await w.store.install(row(first), w.told)
    assert one_.digest == f"{sha(BODY)}+{sha(projector['mmproj-F16.gguf'])}"
    two = await w.store.install(row(second), w.told)
    assert (await look(w)).installed == (two, one_)
    assert await w.store.remove(one_.name) == len(BODY)
    assert (await look(w)).installed == (two,)
    assert await w.store.remove(two.name) == 67_000
    assert not (w.root / "org").exists()


async def test_a_projector_stays_while_somebody_elses_model_may_need_it(tmp_path: Path) -> None:
    files = {FILE: BODY, "mmproj-F16.gguf": content(7_000)}
    w = world(tmp_path, files)
    await w.store.install(row(files), w.told)
    foreign = put(w.root, f"{REPO}/foreign-Q4_0.gguf")
    assert await w.store.remove(NAME) == len(BODY)
    assert foreign.exists()
    assert (w.root / REPO / "mmproj-F16.gguf").exists()


async def test_registry_artifacts_are_not_for_a_store(tmp_path: Path) -> None:
    layers = RegistryArtifact(registry="r", namespace="library", name="m", tag="t", manifest_digest="a" * 64, layers=())
    w = world(tmp_path)
    for artifact in (layers, None):
        with pytest.raises(Refused) as caught:
            await w.store.install(row({FILE: BODY}).model_copy(update={"artifact": artifact}), w.told)
        assert caught.value.code == "not-installable"


async def test_a_rare_name_of_ours_is_seen_again(tmp_path: Path) -> None:
    files = {"Qwen3-0.6B-draft-Q8_0.gguf": BODY}
    w = world(tmp_path, files)
    installed = await w.store.install(row(files), w.told)
    assert await one(w) == installed


async def test_room_is_counted_for_all_files_together(tmp_path: Path) -> None:
    w = world(tmp_path, SHARDS, reserve_bytes=2**60)
    with pytest.raises(OutOfSpace) as caught:
        await w.store.install(row(SHARDS), w.told)
    assert caught.value.details["neededBytes"] == 150_000


async def test_names_never_lead_out_of_the_store(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: BODY})
    for name in ("../out.gguf", "/etc/out.gguf", "a/../../out.gguf", "a//out.gguf", ".hidden/x.gguf", "a/b\0.gguf"):
        with pytest.raises(Refused) as caught:
            await w.store.install(row({FILE: BODY}).model_copy(update={"name": name}), w.told)
        assert caught.value.code == "bad-name", name
    assert not w.root.exists()


async def test_a_folder_that_is_a_link_out_of_the_store_is_not_written_or_cleared(tmp_path: Path) -> None:
    w = world(tmp_path, {FILE: BODY})
    outside = put(tmp_path, f"elsewhere/{FILE}", b"precious")
    (w.root / "org").mkdir(parents=True)
    (w.root / REPO).symlink_to(outside.parent)
    with pytest.raises(Refused) as caught:
        await w.store.install(row({FILE: BODY}, action=Action.UPDATE), w.told)
    assert caught.value.code == "outside-store"
    with pytest.raises(Refused) as caught:
        await w.store.remove(NAME)
    assert caught.value.code == "outside-store"
    assert outside.read_bytes() == b"precious"


# ------------------------------------------------------- remove, partials


async def test_remove_takes_the_model_and_the_folders_it_leaves_empty(tmp_path: Path) -> None:
    w = world(tmp_path)
    put(w.root, NAME, BODY)
    other = put(w.root, "org/Other-GGUF/other-Q4_0.gguf")
    assert await w.store.remove(NAME) == len(BODY)
    assert not (w.root / REPO).exists()
    assert other.exists()
    assert await w.store.remove(NAME) == 0


async def test_remove_leaves_everything_else_in_the_folder(tmp_path: Path) -> None:
    w = world(tmp_path)
    put(w.root, NAME)
    kept = {put(w.root, f"{REPO}/{name}") for name in ("README.md", "tiny-Q4_0.gguf", "tiny-Q8_0-v2.gguf")}
    await w.store.remove(NAME)
    assert set((w.root / REPO).iterdir()) == kept


async def test_remove_takes_what_is_left_of_a_shard_set(tmp_path: Path) -> None:
    w = world(tmp_path, SHARDS)
    installed = await w.store.install(row(SHARDS), w.told)
    (w.root / installed.name).unlink()
    assert await w.store.remove(installed.name) == 100_000
    assert not (w.root / "org").exists()


async def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    w = world(tmp_path)
    outside = put(tmp_path, "elsewhere/x-Q4_0.gguf", BODY)
    (w.root / REPO).mkdir(parents=True)
    (w.root / NAME).symlink_to(outside)
    assert await w.store.remove(NAME) == 0
    assert outside.read_bytes() == BODY
    assert not (w.root / NAME).is_symlink()


@pytest.mark.parametrize("name", ["../elsewhere/x.gguf", "/etc/passwd", "", "..", "a/../../elsewhere/x.gguf"])
async def test_remove_of_a_name_that_climbs_finds_nothing(tmp_path: Path, name: str) -> None:
    w = world(tmp_path)
    put(w.root, NAME)
    outside = put(tmp_path, "elsewhere/x.gguf")
    assert await w.store.remove(name) == 0
    assert outside.exists()


async def test_partials_are_cleaned_by_the_model_they_are_for(tmp_path: Path) -> None:
    w = world(tmp_path)
    folder = w.root / ".localmodels" / "partial"
    for number, name in enumerate(("org/r/a.gguf", "org/r/b.gguf")):
        with Partial(folder, Wanted(HUB, "c", sha(bytes([number])), Bytes(50_000), name)) as partial:
            partial.write(0, bytes(10_000))
    put(folder, f"{'d' * 64}.partial", bytes(5_000))
    seen = await look(w)
    assert seen.partial_names == ("org/r/a.gguf", "org/r/b.gguf")
    assert seen.partial_bytes >= 25_000
    assert await w.store.clean_partials(frozenset({"org/r/a.gguf", "org/r/b.gguf"})) > 0
    freed = await w.store.clean_partials(frozenset({"org/r/b.gguf"}))
    assert freed >= 10_000
    assert (await look(w)).partial_names == ("org/r/b.gguf",)
    await w.store.clean_partials(frozenset())
    assert list(folder.iterdir()) == []
    assert await w.store.clean_partials(frozenset()) == 0


def test_looking_does_not_load_the_network(tmp_path: Path) -> None:
    code = """
import asyncio, pathlib, sys
from reconciler.domain.desired import Limits, Target
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.runtimes.store import Store
def http(): raise AssertionError
where = pathlib.Path(sys.argv[1])
store = Store(Target(name="local", path=str(where)), http=http, clock=SystemClock(), token=None, hub_endpoint="",
              limits=Limits(), cache_directory=where)
asyncio.run(store.observe()); asyncio.run(store.close())
assert "httpx" not in sys.modules and "yaml" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def store_at(path: str | None, tmp_path: Path) -> Store:
    def http() -> None:
        raise AssertionError("no network here")

    return Store(
        Target(name="local", path=path),
        http=http,  # type: ignore[arg-type]
        clock=FixedClock(),
        token=None,
        hub_endpoint=HUB,
        limits=Limits(),
        cache_directory=tmp_path / "cache",
    )


def test_the_layout_is_what_an_artifact_says(tmp_path: Path) -> None:
    artifact = row(SHARDS).artifact
    assert isinstance(artifact, HubArtifact)
    assert row(SHARDS).name == f"{artifact.repo}/{artifact.files[0].path}"


def test_an_edit_whose_time_was_put_back_changes_the_stamp(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"first")
    before = file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert stamp_of(file.stat()) != stamp_of(before)


async def test_what_another_run_is_fetching_now_is_not_cleaned(tmp_path: Path) -> None:
    w = world(tmp_path)
    wanted = Wanted(f"{HUB}/x", "c" * 40, "ab" * 32, Bytes(10_000), "org/r/a.gguf")
    with Partial(w.root / ".localmodels" / "partial", wanted) as partial:
        partial.write(0, b"x" * 10_000)
        assert await w.store.clean_partials(frozenset()) == 0
        assert partial.path.exists()
    assert await w.store.clean_partials(frozenset()) > 0
    assert not partial.path.exists()


async def test_the_file_that_names_the_model_is_placed_last_and_its_companions_are_noted_before(tmp_path: Path) -> None:
    projector = "mmproj-F16.gguf"
    files = {FILE: BODY, projector: content(5_000, seed=3)}
    w = world(tmp_path, files)
    in_the_way = w.root / REPO / projector / "folder"
    wanted = row(files, action=Action.UPDATE)
    in_the_way.mkdir(parents=True)
    with pytest.raises(Refused):
        await w.store.install(wanted, w.told)
    assert (await look(w)).installed == ()
    in_the_way.rmdir()
    in_the_way.parent.rmdir()
    sent = w.source.sent
    assert len((await w.store.install(wanted, w.told)).files) == 2
    assert w.source.sent == sent, "what had arrived was not fetched again"


async def test_half_a_note_is_swept(tmp_path: Path) -> None:
    w = world(tmp_path)
    left = put(w.root, ".localmodels/models/abc.new", b"{")
    assert await w.store.clean_partials(frozenset()) > 0
    assert not left.exists()


async def test_removing_again_takes_the_rest_of_a_set_that_was_half_removed(tmp_path: Path) -> None:
    w = world(tmp_path, SHARDS)
    name = (await w.store.install(row(SHARDS), w.told)).name
    (w.root / name).unlink()
    assert (await look(w)).installed == ()
    assert await w.store.remove(name) == 100_000
    assert list(w.root.rglob("*.gguf")) == []


async def test_a_partial_downloads_state_with_a_number_that_is_none_does_not_exist(tmp_path: Path) -> None:
    w = world(tmp_path)
    folder = w.root / ".localmodels" / "partial"
    put(folder, f"{'d' * 64}.partial", bytes(5_000))
    put(
        folder, f"{'d' * 64}.json", b'{"name": "a", "sha256": "%s", "size": 9, "ranges": [[0, Infinity]]}' % (b"d" * 64)
    )
    assert (await look(w)).partial_names == ()
