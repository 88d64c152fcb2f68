"""A router's cache that may not be read is no empty cache: what the router lists of it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.domain.adapter import HeldAdapter
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.integrations.http import Response
from reconciler.integrations.runtimes.hub_layout import look
from tests.closed import closed, open_folder
from tests.integrations.runtimes.router_double import NAME, RouterDouble, runtime_on

REPOSITORY = "models--acme--alpha-GGUF"


@pytest.fixture
def here() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def double(here: Path) -> RouterDouble:
    double = RouterDouble(here / "cache")
    double.arrive()
    double.preset = here / "presets.ini"
    double.preset.write_text("version = 1\n")
    return double


@pytest.mark.parametrize("folder", ["", REPOSITORY, f"{REPOSITORY}/snapshots", f"{REPOSITORY}/blobs"])
async def test_what_is_listed_is_there_where_its_files_may_not_be_seen(folder, here, double):
    path = here / "adapters" / ("1" * 64) / "adapter.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    server = runtime_on(double, target={"preset": str(double.preset), "cache": str(double.cache)})
    await server.attach(HeldAdapter(name="sql", base=NAME, path=str(path), digest="1" * 64, format="gguf"))
    double.models[NAME]["source"] = "preset"  # as a restart leaves it: a section of the base hides the cache
    assert look(double.cache) is not None
    with closed(double.cache / folder):
        assert look(double.cache) is None
        seen = await server.observe()
    assert isinstance(seen, ObservedTarget)
    assert NAME in [one.name for one in seen.installed]
    assert [one.name for one in seen.adapters] == ["sql"]
    assert any("cannot be read here" in note for note in seen.notes)


async def test_an_answer_of_500_is_no_answer(double):
    server = runtime_on(double, target={"preset": str(double.preset)})
    double.answers["GET", "/models"] = Response(500, json={"error": {"code": 500, "message": "filesystem error"}})
    assert isinstance(await server.observe(), UnknownTarget)


async def test_a_preset_file_that_may_not_be_written_is_named(here, double):
    here.chmod(0o777)
    server = runtime_on(double, target={"preset": str(double.preset)})
    with closed(here, 0o555):
        seen = await server.observe()
    assert isinstance(seen, ObservedTarget)
    told = f"its preset file {double.preset} cannot be written from here"
    assert (seen.takes_adapters, seen.why_no_adapters) == (None, told)
    seen = await server.observe()
    assert isinstance(seen, ObservedTarget)
    assert (seen.takes_adapters, seen.why_no_adapters) == ("gguf", None)
