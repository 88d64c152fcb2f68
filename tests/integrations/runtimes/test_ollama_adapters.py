"""Models with adapters on Ollama, beside what ``tests/contracts/test_adapter_contract.py`` asks of every runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from reconciler.domain.adapter import HeldAdapter
from reconciler.domain.observation import ObservedTarget
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.integrations.runtimes.ollama_adapters import can_make
from tests import lora_files
from tests.contracts.adapter_drivers import held
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_create import create
from tests.doubles.ollama_rig import runtime_on, small
from tests.doubles.ollama_store import IMAGE

BASE = "base:1b"


@pytest.fixture
def double(tmp_path):
    double = OllamaDouble(tmp_path / "models", part_bytes=65_536)
    with double:
        put(double, BASE, 0)
        put(double, "other:1b", 1)
        yield double


@pytest.fixture
async def runtime(double, tmp_path):
    opened = runtime_on(double, adapter_store=tmp_path / "adapters", cache_directory=tmp_path / "cache")
    yield opened
    await opened.close()


def put(double: OllamaDouble, name: str, seed: int) -> None:
    double.store.put(name, small(seed))


def adapter(folder: Path, name: str = "sql", *, seed: int = 1, architecture: str = "llama") -> HeldAdapter:
    path = folder / f"{architecture}-{seed}.gguf"
    lora_files.gguf_adapter(path, architecture, {"blk.0.attn_q": (64, 64)}, seed=seed, scale=0.1)
    return held(folder / "adapters", path, name, BASE, kind="gguf")


def by_hand(double: OllamaDouble, name: str, base: str, mine: HeldAdapter) -> None:
    """As a person would, with a Modelfile."""
    layer = double.store.add_blob(Path(mine.path).read_bytes(), IMAGE + "adapter")
    lines = list(create(double, {"model": name, "from": base, "adapters": {"a.gguf": layer["digest"]}}))
    assert lines[-1] == {"status": "success"}


async def looked(runtime: Ollama) -> ObservedTarget:
    observed = await runtime.observe()
    assert isinstance(observed, ObservedTarget), observed
    return observed


class TestLooking:
    async def test_what_a_person_made_is_seen(self, double, runtime, tmp_path):
        mine = adapter(tmp_path)
        by_hand(double, "theirs", BASE, mine)
        seen = await looked(runtime)
        assert [(one.name, one.base, one.path, one.digest) for one in seen.adapters] == [
            ("theirs", BASE, None, mine.digest)
        ]
        assert {model.name for model in seen.installed} == {BASE, "other:1b", "theirs:latest"}
        assert seen.aliases == ()

    async def test_a_file_that_we_do_not_hold_is_named_by_its_hash(self, double, runtime, tmp_path):
        mine = adapter(tmp_path)
        by_hand(double, "theirs", BASE, mine)
        sha256 = hashlib.sha256(Path(mine.path).read_bytes()).hexdigest()
        Path(mine.path).unlink()
        (one,) = (await looked(runtime)).adapters
        assert (one.path, one.digest) == (f"sha256:{sha256}", None)

    async def test_an_adapter_whose_base_moved_on_stands_on_nothing(self, double, runtime, tmp_path):
        by_hand(double, "theirs", BASE, adapter(tmp_path))
        put(double, BASE, 5)
        (one,) = (await looked(runtime)).adapters
        assert one.base is None

    async def test_a_server_that_makes_none_still_tells_them(self, double, runtime, tmp_path):
        by_hand(double, "theirs", BASE, adapter(tmp_path))
        double.version = "0.34.1"
        seen = await looked(runtime)
        assert (seen.takes_adapters, seen.detaches_adapters) == (None, True)
        assert [one.name for one in seen.adapters] == ["theirs"]

    @pytest.mark.parametrize("version", ["0.34.1", "0.35.0-rc1", "1.2.3", "", "unknown"])
    def test_versions_that_are_not_asked_to(self, version):
        assert not can_make(version)


class TestMaking:
    async def test_a_newer_server_is_not_asked_at_all(self, double, runtime, tmp_path):
        double.version = "0.34.1"
        with pytest.raises(Refused, match=r"Ollama 0\.34\.1") as raised:
            await runtime.attach(adapter(tmp_path))
        assert raised.value.code == "no-api"
        assert not [path for _, path in double.requests if path.startswith(("/api/create", "/api/blobs"))]

    async def test_a_server_that_says_no_is_asked_once(self, double, runtime, tmp_path):
        double.faults.status["/api/create"] = (400, b'{"error": "adapters are no longer supported"}')
        with pytest.raises(Refused) as raised:
            await runtime.attach(adapter(tmp_path))
        assert raised.value.code == "no-api"
        assert [path for _, path in double.requests].count("/api/create") == 1

    @pytest.mark.parametrize(
        "says",
        ["unsupported architecture", "only one adapter is currently supported", "a layer was removed meanwhile"],
    )
    async def test_what_it_says_of_this_file_is_no_word_on_all(self, double, runtime, tmp_path, says):
        double.faults.status["/api/create"] = (400, f'{{"error": "{says}"}}'.encode())
        with pytest.raises(Refused, match=says) as raised:
            await runtime.attach(adapter(tmp_path))
        assert raised.value.code == "adapter-refused"

    async def test_a_file_is_uploaded_once(self, double, runtime, tmp_path):
        mine = adapter(tmp_path)
        await runtime.attach(mine)
        await runtime.attach(mine.model_copy(update={"name": "again"}))
        uploads = [path for method, path in double.requests if method == "POST" and path.startswith("/api/blobs/")]
        assert uploads == [f"/api/blobs/sha256:{hashlib.sha256(Path(mine.path).read_bytes()).hexdigest()}"]

    async def test_it_answers_before_it_has_its_name(self, double, runtime, tmp_path):
        await runtime.attach(adapter(tmp_path))
        steps = [path for _, path in double.requests if path in ("/api/create", "/api/generate", "/api/delete")]
        assert steps[:3] == ["/api/create", "/api/generate", "/api/create"]
        assert {stored.name.short for stored in double.store.listed()} == {BASE, "other:1b", "sql:latest"}

    async def test_a_peft_folder_is_not_uploaded(self, double, runtime, tmp_path):
        mine = adapter(tmp_path).model_copy(update={"format": "peft"})
        with pytest.raises(Refused, match="as GGUF"):
            await runtime.attach(mine)

    async def test_it_has_no_scale(self, double, runtime, tmp_path):
        with pytest.raises(Refused, match=r"not at scale 0\.5"):
            await runtime.attach(adapter(tmp_path).model_copy(update={"scale": 0.5}))

    async def test_a_file_that_is_gone(self, double, runtime, tmp_path):
        mine = adapter(tmp_path)
        Path(mine.path).unlink()
        with pytest.raises(Refused, match="cannot be read") as raised:
            await runtime.attach(mine)
        assert raised.value.code == "not-found"

    async def test_another_base_under_the_same_name(self, double, runtime, tmp_path):
        mine = adapter(tmp_path)
        await runtime.attach(mine)
        moved = await runtime.attach(mine.model_copy(update={"base": "other:1b"}))
        assert moved.base == "other:1b"

    async def test_a_base_that_the_server_would_fetch_anew_is_not_waited_for(self, double, runtime, tmp_path):
        """Somebody removed it since we looked; nobody asked for a download."""
        said = b'{"status":"pulling manifest"}\n{"status":"pulling 0123","total":9}\n{"status":"success"}\n'
        double.faults.status["/api/create"] = (200, said)
        with pytest.raises(Refused, match=r"base:1b is not installed on .* any more") as raised:
            await runtime.attach(adapter(tmp_path))
        assert raised.value.code == "not-found"

    async def test_a_lost_server_leaves_the_old_one(self, double, runtime, tmp_path):
        old, new = adapter(tmp_path), adapter(tmp_path, seed=2)
        await runtime.attach(old)
        double.faults.status["/api/create"] = (0, b"")
        with pytest.raises(Unreachable):
            await runtime.attach(new)
        double.faults.status.clear()
        assert (await runtime.attach(old)).name == "sql"
        await runtime.attach(new)

    async def test_what_a_cut_off_attach_left_is_hidden_and_swept(self, double, runtime, tmp_path):
        mine = adapter(tmp_path)
        double.faults.status["/api/delete"] = (0, b"")
        await runtime.attach(mine)
        double.faults.status.clear()
        left = [stored.name.short for stored in double.store.listed() if "trial" in stored.name.short]
        assert len(left) == 1
        seen = await looked(runtime)
        assert [one.name for one in seen.adapters] == ["sql"]
        assert not any("trial" in model.name for model in seen.installed)
        await runtime.detach("sql", BASE)
        assert {stored.name.short for stored in double.store.listed()} == {BASE, "other:1b"}


class TestDetaching:
    async def test_a_model_of_its_own_is_never_deleted(self, double, runtime):
        with pytest.raises(Refused) as raised:
            await runtime.detach("other:1b", BASE)
        assert raised.value.code == "unmanaged-conflict"

    async def test_not_while_somebody_is_answered_by_it(self, double, runtime, tmp_path):
        await runtime.attach(adapter(tmp_path))
        with double.in_flight("sql"), pytest.raises(Refused) as raised:
            await runtime.detach("sql", BASE)
        assert raised.value.code == "in-use"
        await runtime.detach("sql", BASE)
        assert (await looked(runtime)).adapters == ()
