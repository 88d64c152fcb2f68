"""The Hub's own client and ours, against the double over real sockets: both must understand it the same way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.observation import HubNeed, Resolved
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.hub_cache import HubCache
from reconciler.integrations.catalog.live import LiveCatalog
from reconciler.integrations.catalog.registry import RegistryClient
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.http import Http
from tests.doubles.hub import DoubleFile, HubDouble
from tests.integrations.catalog.world import desired, gguf_bytes, snapshot

pytestmark = pytest.mark.e2e

TOKEN = "hf_" + "a" * 34
CONTENT = gguf_bytes("qwen9", tokens=9000, template="{{ tools }}")


@pytest.fixture
def double() -> HubDouble:
    made = HubDouble(granted=[TOKEN], page_rows=2)
    for number in range(3):
        made.add(
            f"Qwen/Qwen9-{number}B-GGUF",
            {f"Qwen9-{number}B-Q4_K_M.gguf": CONTENT, "README.md": DoubleFile(b"# read me\n", lfs=False)},
            tags=["gguf", "license:mit"],
            downloads=10 - number,
        )
    made.add("google/gated", {"g-Q4_0.gguf": CONTENT}, tags=["gguf"], gated="manual")
    made.add("google/private", {"g-Q4_0.gguf": CONTENT}, private=True)
    return made


@pytest.fixture
def endpoint(double: HubDouble) -> Iterator[str]:
    with double.serve() as url:
        yield url


def official(endpoint: str, token: str | bool = False) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, token=token)


def test_the_official_client_lists_describes_and_downloads(endpoint: str, double: HubDouble, tmp_path: Path) -> None:
    api = official(endpoint)
    listed = [each.id for each in api.list_models(author="Qwen", filter="gguf", sort="downloads")]
    assert listed == [f"Qwen/Qwen9-{number}B-GGUF" for number in range(3)]
    name = "Qwen/Qwen9-0B-GGUF"
    described = api.model_info(name, files_metadata=True)
    assert described.sha == double.repos[name].head
    assert {each.rfilename: each.size for each in described.siblings} == {
        "Qwen9-0B-Q4_K_M.gguf": len(CONTENT),
        "README.md": 10,
    }
    files = {each.path: each.lfs.sha256 for each in api.list_repo_tree(name, recursive=True) if each.lfs}
    assert files == {"Qwen9-0B-Q4_K_M.gguf": hashlib.sha256(CONTENT).hexdigest()}
    for file, content in (("Qwen9-0B-Q4_K_M.gguf", CONTENT), ("README.md", b"# read me\n")):
        got = api.hf_hub_download(name, file, cache_dir=tmp_path)
        assert Path(got).read_bytes() == content


def test_the_official_client_sees_the_same_refusals(endpoint: str, tmp_path: Path) -> None:
    from huggingface_hub import errors

    for token, name, error in (
        (False, "google/gated", errors.GatedRepoError),
        (False, "google/private", errors.RepositoryNotFoundError),
        (False, "Qwen/nothing", errors.RepositoryNotFoundError),
        (False, "Qwen/Qwen9-0B-GGUF", errors.EntryNotFoundError),
    ):
        file = "nope.gguf" if name.startswith("Qwen") else "g-Q4_0.gguf"
        with pytest.raises(error):
            official(endpoint, token).hf_hub_download(name, file, cache_dir=tmp_path)
    got = official(endpoint, TOKEN).hf_hub_download("google/gated", "g-Q4_0.gguf", cache_dir=tmp_path)
    assert Path(got).read_bytes() == CONTENT


async def test_ours_discovers_and_resolves_over_sockets(endpoint: str, double: HubDouble, tmp_path: Path) -> None:
    clock = SystemClock()
    http = Http(clock=clock)
    catalog = LiveCatalog(
        bundled=snapshot,
        hub=lambda: HubClient(http, endpoint=endpoint, token=TOKEN),
        registry=lambda: RegistryClient(http),
        cache=HubCache(tmp_path / "hub.json", clock=clock),
        clock=clock,
        endpoint=endpoint,
    )
    try:
        catalogue = await catalog.candidates(desired(), freshness="refresh")
        answers = await asyncio.gather(
            *(catalog.resolve(HubNeed(repo=repo)) for repo in ("Qwen/Qwen9-0B-GGUF", "google/gated"))
        )
    finally:
        await http.close()
    assert catalogue.notes == ()
    assert [each.id for each in catalogue.models[1:]] == [f"Qwen/Qwen9-{number}B" for number in range(3)]
    assert all(each.architecture.layers == 36 for each in catalogue.models[1:])
    for answer in answers:
        assert isinstance(answer, Resolved), answer
        assert answer.artifact.files[0].sha256 == hashlib.sha256(CONTENT).hexdigest()
    hub_host = endpoint.removeprefix("http://")
    assert {each.token for each in double.requests if each.host == hub_host} == {f"Bearer {TOKEN}"}
    assert {each.token for each in double.requests if each.host != hub_host} == {None}
