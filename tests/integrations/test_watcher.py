"""Real files, real events. What is waited for is bounded; how long it took is not judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.integrations.watcher import FolderWatch, Wakeup

PATIENCE_SECONDS = 20.0


class Watching:
    """The wake-ups of one file, as they come."""

    def __init__(self, path: Path, *, interval_seconds: float = 600.0) -> None:
        self.stop = asyncio.Event()
        self.seen: list[Wakeup] = []
        self._watch = FolderWatch(path, interval_seconds, self.stop)
        self._news = asyncio.Event()

    async def run(self) -> None:
        async for wakeup in self._watch:
            self.seen.append(wakeup)
            self._news.set()

    async def news(self) -> Wakeup:
        """The next wake-up, and nothing before it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.seen:
                self._news.clear()
                await self._news.wait()
        return self.seen.pop(0)


@asynccontextmanager
async def watching(path: Path, *, interval_seconds: float = 600.0) -> AsyncIterator[Watching]:
    found = Watching(path, interval_seconds=interval_seconds)
    task = asyncio.ensure_future(found.run())
    await asyncio.sleep(0.1)
    try:
        yield found
    finally:
        found.stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "localmodels.yaml"
    path.parent.mkdir()
    path.write_text("one")
    return path


async def test_every_save_by_rename_wakes(file: Path) -> None:
    async with watching(file) as here:
        for index in range(3):
            temporary = file.with_name(".localmodels.yaml.swp")
            temporary.write_text(f"edit {index}")
            temporary.replace(file)
            assert await here.news() == "changed"


async def test_a_save_in_place_wakes(file: Path) -> None:
    async with watching(file) as here:
        file.write_text("another content")
        assert await here.news() == "changed"


async def test_what_happens_beside_the_file_does_not_wake(file: Path) -> None:
    async with watching(file) as here:
        for index in range(5):
            (file.parent / f"other-{index}").write_text("x")
        (file.parent / "folder").mkdir()
        file.write_text("another content")
        assert await here.news() == "changed"
        assert here.seen == []


async def test_a_run_of_saves_is_few_wakeups(file: Path) -> None:
    async with watching(file) as here:
        for index in range(20):
            file.write_text(f"edit {index} {'x' * index}")
        assert await here.news() == "changed"
        await asyncio.sleep(0.5)
        assert len(here.seen) <= 2


async def test_removed_and_written_again_wakes_twice(file: Path) -> None:
    async with watching(file) as here:
        file.unlink()
        assert await here.news() == "changed"
        file.write_text("back")
        assert await here.news() == "changed"


async def test_a_swapped_link_as_kubernetes_mounts_it_wakes(tmp_path: Path) -> None:
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "localmodels.yaml").write_text(f"version {version}")
    (tmp_path / "..data").symlink_to("..1")
    file = tmp_path / "localmodels.yaml"
    file.symlink_to("..data/localmodels.yaml")
    async with watching(file) as here:
        for version in ("..2", "..1"):
            (tmp_path / "..data_tmp").symlink_to(version)
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            assert await here.news() == "changed"


async def test_a_linked_file_in_another_folder_wakes(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "here").mkdir()
    real = tmp_path / "dotfiles" / "models.yaml"
    real.write_text("one")
    link = tmp_path / "here" / "localmodels.yaml"
    link.symlink_to(real)
    async with watching(link) as here:
        real.write_text("another content")
        assert await here.news() == "changed"


async def test_a_folder_that_is_replaced_is_watched_again(file: Path) -> None:
    async with watching(file) as here:
        file.parent.rename(file.parent.with_name("old"))
        assert await here.news() == "changed"
        file.parent.mkdir()
        file.write_text("new checkout")
        assert await here.news() == "changed"
        await asyncio.sleep(0.2)
        file.write_text("and an edit in it")
        assert await here.news() == "changed"


async def test_a_change_before_the_first_look_is_not_missed(file: Path) -> None:
    here = Watching(file, interval_seconds=0.2)
    file.write_text("between loading and watching")
    task = asyncio.ensure_future(here.run())
    assert await here.news() == "changed"
    here.stop.set()
    await task


async def test_it_ticks_at_every_interval(file: Path) -> None:
    async with watching(file, interval_seconds=0.05) as here:
        assert [await here.news() for _ in range(3)] == ["tick"] * 3


async def test_stop_is_the_last_word(file: Path) -> None:
    here = Watching(file)
    task = asyncio.ensure_future(here.run())
    await asyncio.sleep(0.05)
    here.stop.set()
    await task
    assert here.seen == ["stop"]
