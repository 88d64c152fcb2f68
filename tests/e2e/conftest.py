"""The parts every scenario can have: a Hub with a real model and small ones, and a fresh machine that asks it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.servers.mirror import Mirror, serve
from tests.doubles.ollama_model import tiny_gguf
from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import SMOL_NAME, VLLM_BASE, Machine, llama_server_command, packaged_model, tiny_name

TINY_BYTES = 3_000_000
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is end to end, whoever writes it: ``-m "not e2e"`` starts none of it."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def model() -> Path:
    """The real chat model's file."""
    return packaged_model()


@pytest.fixture(scope="session")
def llama_server() -> str:
    """The command of a real llama-server."""
    return llama_server_command()


@pytest.fixture(scope="session")
def tiny_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Our mirror with three small made-up models: for what does not depend on the bytes."""
    root = tmp_path_factory.mktemp("tiny-hub")
    for seed, name in enumerate(("alpha", "beta", "gamma")):
        path = root / tiny_name(name)
        path.parent.mkdir(parents=True)
        path.write_bytes(tiny_gguf(TINY_BYTES, seed=seed))
    with serve(root) as running:
        yield running


@pytest.fixture(scope="session")
def hub(model: Path, tiny_hub: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Our mirror with the real model and one small one."""
    root = tmp_path_factory.mktemp("hub")
    for name, source in ((SMOL_NAME, model), (tiny_name("alpha"), None)):
        path = root / name
        path.parent.mkdir(parents=True)
        if source is None:
            path.write_bytes(tiny_gguf(TINY_BYTES))
        else:
            shutil.copyfile(source, path)
    with serve(root) as running:
        yield running


@pytest.fixture
def machine(tiny_hub: Mirror, tmp_path: Path) -> Machine:
    """A fresh machine whose Hub has the small models."""
    return Machine(tmp_path / "here", tiny_hub.url)


@pytest.fixture
def real_machine(hub: Mirror, tmp_path: Path) -> Machine:
    """A fresh machine whose Hub has the real model."""
    return Machine(tmp_path / "here", hub.url)


@pytest.fixture
def machine_at(tmp_path: Path) -> Callable[[str, str], Machine]:
    """Another fresh machine, by name and Hub."""
    return lambda name, endpoint: Machine(tmp_path / name, endpoint)


@pytest.fixture
def vllm() -> Iterator[VllmDouble]:
    """The double of a vLLM, with a base of its own."""
    with VllmDouble(VLLM_BASE) as double:
        yield double
