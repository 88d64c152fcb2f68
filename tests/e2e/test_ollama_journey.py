"""The same real model on Ollama: the double of the server, a real registry behind a small front, the real client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from reconciler.servers.mirror import Mirror
from tests.doubles.docker_registry import PROGRAM, DockerRegistry, skip_without
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_model import Packed, packed, tiny_gguf
from tests.doubles.registry_front import RegistryFront
from tests.e2e.rig import CHAT, DEAD, SMOL_REPO, Machine

HOUSE, FLAT = packed(tiny_gguf(2_000_000, seed=5)), packed(tiny_gguf(1_500_000, seed=6))
RANKED = {"name": "chat", "profile": "general", "quants": ["Q4_1"]}


@pytest.fixture(scope="module")
def smol(model: Path) -> Packed:
    return packed(model, parameters={"num_ctx": 4096})


@pytest.fixture(scope="module")
def front(smol: Packed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryFront]:
    """A real registry with the real model as a mirror of the Hub would hold it, and a small one of a team."""
    skip_without(PROGRAM, "apt-get install docker-registry")
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as registry, RegistryFront(registry.url) as front:
        registry.push(f"{SMOL_REPO.lower()}:Q4_1", smol)
        registry.push("acme/house:1b", HOUSE)
        registry.push("acme/flat:1b", FLAT)
        yield front


@pytest.fixture
def double(tmp_path: Path) -> Iterator[OllamaDouble]:
    with OllamaDouble(tmp_path / "ollama", part_bytes=32_000_000, chunk_bytes=262_144) as double:
        yield double


@pytest.fixture
def lab(front: RegistryFront, machine_at: Callable[..., Machine]) -> Machine:
    """A machine that can reach the registry and no Hub."""
    return machine_at("here", DEAD)


Write = Callable[..., None]


@pytest.fixture
def write(lab: Machine, front: RegistryFront, double: OllamaDouble) -> Write:
    target = {"name": "gpu", "runtime": "ollama", "endpoint": double.url, "registry": front.address, "insecure": True}

    def write(*slots: dict[str, Any], **more: Any) -> None:
        lab.write(*slots, targets=[{**target, **more.pop("target", {})}], **more)

    return write


def smol_name(front: RegistryFront) -> str:
    return f"{front.address}/{SMOL_REPO.lower()}:Q4_1"


def team(front: RegistryFront) -> dict[str, Any]:
    return {"name": "team", "model": team_name(front)}


def team_name(front: RegistryFront) -> str:
    return f"{front.address}/acme/house:1b"


def listed(double: OllamaDouble) -> list[str]:
    return sorted(model["name"] for model in tags(double))


def tags(double: OllamaDouble) -> list[dict[str, Any]]:
    client = ollama.Client(host=double.url)
    return [{"name": model.model, "digest": model.digest} for model in client.list().models]


def blobs(double: OllamaDouble) -> set[str]:
    return {path.name.replace("-", ":", 1) for path in double.store.blobs.iterdir()}


@pytest.mark.parametrize("slot", [RANKED, CHAT], ids=["ranked", "pinned"])
def test_the_real_model_is_pulled_seen_by_the_official_client_and_in_sync(
    lab: Machine,
    write: Write,
    double: OllamaDouble,
    front: RegistryFront,
    hub: Mirror,
    smol: Packed,
    slot: dict[str, Any],
) -> None:
    if slot is RANKED:  # what there is to rank is what the Hub lists; the bytes come from the registry all the same
        lab.endpoint = hub.url
    write(slot)
    seen = lab.plan("--detailed-exitcode", expect=2)
    (row,) = seen.data["changes"]
    assert (row["action"], row["reason"]) == ("install", "missing"), json.dumps(seen.data, indent=1)
    assert row["bytesDown"] == smol.size
    lab.apply()
    (there,) = tags(double)
    assert there["digest"] == smol.digest
    assert there["name"].lower() == smol_name(front).lower()
    assert blobs(double) == {blob.digest for blob in smol.blobs}
    lab.in_sync()
    lab.in_sync("--offline")
    pulled = list(double.pulled)
    lab.apply()
    assert double.pulled == pulled, "a second apply pulls nothing"
    (where,) = lab.run("which", "chat", "--json").data
    assert where["url"] == double.url
    assert ollama.Client(host=double.url).show(where["model"]).details.quantization_level == "Q4_1"


def test_what_somebody_removed_comes_back_and_what_is_foreign_stays(
    lab: Machine, write: Write, double: OllamaDouble, front: RegistryFront, smol: Packed
) -> None:
    write(CHAT, team(front))
    lab.apply()
    client = ollama.Client(host=double.url)
    client.copy(team_name(front), "my-own:latest")
    client.delete(smol_name(front))
    assert [(action, reason) for action, reason, _ in lab.plan("--detailed-exitcode", expect=2).rows()] == [
        ("install", "drifted")
    ]
    lab.apply()
    assert smol.digest in {one["digest"] for one in tags(double)}
    write(CHAT)
    lab.apply()
    assert "my-own:latest" in listed(double)
    assert len(listed(double)) == 2
    lab.in_sync()


def test_a_model_that_is_loaded_waits_for_its_eviction(
    lab: Machine, write: Write, double: OllamaDouble, front: RegistryFront
) -> None:
    write(CHAT, team(front))
    lab.apply()
    write(CHAT)
    with double.in_flight(team_name(front)):
        assert [one.model for one in ollama.Client(host=double.url).ps().models]
        seen = lab.plan("--detailed-exitcode")
        assert seen.rows() == []
        assert [row["reason"] for row in seen.data["deferred"]] == ["in-use"]
        lab.apply()
        assert len(listed(double)) == 2, "never a model in use"
    assert [(action, reason) for action, reason, _ in lab.plan("--detailed-exitcode", expect=2).rows()] == [
        ("evict", "not-desired")
    ]
    lab.apply()
    assert len(listed(double)) == 1
    lab.in_sync()


def test_a_model_that_is_loaded_and_idle_is_unloaded_and_goes(
    lab: Machine, write: Write, double: OllamaDouble, front: RegistryFront
) -> None:
    write(CHAT, team(front))
    lab.apply()
    client = ollama.Client(host=double.url)
    client.generate(model=team_name(front), keep_alive=-1)
    assert [one.model for one in client.ps().models] == [team_name(front)]
    write(CHAT)
    lab.apply()
    assert list(client.ps().models) == []
    assert len(listed(double)) == 1
    lab.in_sync()


def test_a_swap_under_an_alias_is_seen_by_a_client_that_only_knows_the_name(
    lab: Machine, write: Write, double: OllamaDouble, front: RegistryFront
) -> None:
    client = ollama.Client(host=double.url)

    def slot(model: str) -> dict[str, Any]:
        return {"name": "code", "model": f"{front.address}/acme/{model}:1b", "alias": "coder", "context": 2048}

    def answer() -> str:
        words = [part.message.content for part in client.chat("coder", [{"role": "user", "content": "?"}], stream=True)]
        whole = client.chat("coder", [{"role": "user", "content": "?"}]).message.content
        assert "".join(words) == whole
        return str(whole).removeprefix("from ")

    write(slot("house"))
    lab.apply()
    before = answer()
    assert before == HOUSE.weights.digest
    assert [one.context_length for one in client.ps().models] == [2048]
    assert client.show("coder").details.parent_model == f"{front.address}/acme/house:1b"
    lab.in_sync()
    write(slot("flat"))
    lab.apply()
    assert answer() == FLAT.weights.digest
    assert listed(double) == sorted(["coder:latest", f"{front.address}/acme/flat:1b"])
    assert HOUSE.weights.digest not in blobs(double), "the old model went, and its files"
    lab.in_sync()
    write()
    ran = lab.apply("--allow-evictions", "1")
    assert listed(double) == [], ran.text
    assert blobs(double) == set()


def test_somebodys_own_model_under_the_alias_is_left_alone(
    lab: Machine, write: Write, double: OllamaDouble, front: RegistryFront
) -> None:
    write(team(front))
    lab.apply()
    client = ollama.Client(host=double.url)
    client.create("coder", from_=team_name(front), system="You are a pirate.")
    write({**team(front), "alias": "coder", "context": 2048})
    lab.apply(expect=4)
    assert client.show("coder").modelfile.count("pirate") == 1


def test_a_target_that_is_down_is_unknown_and_nothing_is_forgotten(
    lab: Machine, write: Write, tmp_path: Path, front: RegistryFront
) -> None:
    with OllamaDouble(tmp_path / "own", part_bytes=32_000_000, chunk_bytes=262_144) as first:
        port = int(first.url.rpartition(":")[2])
        target = {"endpoint": first.url}
        write(team(front), target=target)
        lab.apply()
        ours = lab.entries()
    write(CHAT, target=target)
    down = lab.plan("--detailed-exitcode", expect=1)
    assert down.error["code"] == "target-unknown"
    assert down.envelope["data"]["changes"] == []
    assert {row["reason"] for row in down.envelope["data"]["blocked"]} == {"target-unknown"}
    assert lab.apply(expect=1).text
    assert lab.entries() == ours, "nothing is pruned on the word of a server that says nothing"
    assert lab.run("status", expect=1).out
    write(team(front), target=target)
    with OllamaDouble(tmp_path / "own", port=port):
        lab.in_sync()


def test_a_target_that_answers_nonsense_is_unknown_too(
    lab: Machine, write: Write, double: OllamaDouble, front: RegistryFront
) -> None:
    write(team(front))
    lab.apply()
    ours = lab.entries()
    for status, body in ((200, b"{}"), (200, b'{"models": null}x'), (500, b"oh"), (200, b"<html>")):
        double.faults.status["/api/tags"] = (status, body)
        ran = lab.plan("--detailed-exitcode", expect=None)
        assert ran.code == 1, (body, ran.text)
        lab.apply(expect=1)
        assert lab.entries() == ours
    double.faults.status.clear()
    lab.in_sync()


def test_an_ordinary_registry_without_a_front_is_refused_and_nothing_changes(
    lab: Machine, write: Write, double: OllamaDouble, tmp_path: Path
) -> None:
    with DockerRegistry(tmp_path / "bare") as registry:
        registry.push("acme/house:1b", packed(tiny_gguf(300_000, seed=6)))
        write({"name": "team", "model": f"{registry.address}/acme/house:1b"}, target={"registry": registry.address})
        failed = lab.run("apply", "--yes", "--json", expect=1)
    (outcome,) = failed.lines[-1]["data"]["outcomes"]
    assert outcome["status"] == "failed"
    assert outcome["code"] == "not-installable"
    assert listed(double) == []


def test_a_store_and_an_ollama_of_one_file(
    hub: Mirror, machine_at: Callable[..., Machine], double: OllamaDouble, front: RegistryFront, model: Path
) -> None:
    """Two targets, two sources, one plan; one of them down does not keep the other waiting."""
    lab = machine_at("both", hub.url)
    gpu = {"name": "gpu", "runtime": "ollama", "endpoint": double.url, "registry": front.address, "insecure": True}
    box = {"name": "box", "runtime": "store", "path": str(lab.store)}
    slots = ({**CHAT, "target": "box"}, {**team(front), "target": "gpu"})
    lab.write(*slots, targets=[box, {**gpu, "endpoint": DEAD}])
    lab.apply(expect=3)
    assert len(lab.names()) == 1
    lab.write(*slots, targets=[box, gpu])
    lab.apply()
    assert listed(double) == [team_name(front)]
    lab.in_sync()
    assert Path(lab.run("which", "chat", "--json").data[0]["path"]) == lab.store / lab.names()[0]
