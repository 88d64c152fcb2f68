"""Declared adapters on a vLLM and an Ollama, both doubles: file, plan, apply, in sync, restart, change, detach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lora_files
from tests.doubles.hub import HubDouble
from tests.doubles.ollama import OllamaDouble
from tests.doubles.ollama_rig import small
from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import Machine, fetch

BASE = "acme/tiny-llama"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Machine]:
    with HubDouble().serve() as endpoint:
        yield Machine(tmp_path / "here", endpoint)


@pytest.fixture
def server() -> Iterator[VllmDouble]:
    with VllmDouble(BASE, names=("tiny",), key="s3cret") as double:
        yield double


def on_vllm(lab: Machine, server: VllmDouble, *adapters: str, **more: object) -> None:
    target = {"name": "gpu", "runtime": "vllm", "endpoint": server.url, "apiKeyFrom": {"file": "key"}}
    (lab.repository / "key").write_text("s3cret\n")
    declared = [
        {"name": name, "base": BASE, "source": {"path": f"adapters/{name}"}, "serve": [{"target": "gpu"}]} | more
        for name in adapters
    ]
    lab.write(targets=[target], adapters=declared)


def made(lab: Machine, name: str, rank: int = 4) -> None:
    pairs = lora_files.pairs("q_proj", "v_proj", rank=rank)
    lora_files.folder(lab.repository / "adapters" / name, pairs, lora_files.config(r=rank))


def test_the_journey_on_vllm(lab: Machine, server: VllmDouble) -> None:
    made(lab, "sql")
    on_vllm(lab, server, "sql")
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [("attach", "missing", BASE)]
    lab.apply()
    lab.in_sync()
    first = server.loras["sql"].path
    server.restart()  # what was loaded while it ran is lost
    assert not server.loras
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [("attach", "drifted", BASE)]
    lab.apply()
    lab.in_sync()
    assert server.loras["sql"].path == first
    made(lab, "sql", rank=2)
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [("update", "upstream-moved", BASE)]
    lab.apply()
    lab.in_sync()
    assert (server.loras["sql"].rank, server.loras["sql"].path == first) == (2, False)
    on_vllm(lab, server)
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [("detach", "not-desired", BASE)]
    lab.apply()
    assert not server.loras


def test_a_vllm_that_takes_none_while_it_runs_has_a_command(lab: Machine, server: VllmDouble) -> None:
    server.updating = False
    made(lab, "sql")
    on_vllm(lab, server, "sql")
    said = lab.run("plan", "--detailed-exitcode", expect=4).out
    assert "no-api" in said
    assert "--enable-lora" in said
    assert "--lora-modules" in said
    assert not server.loras


def test_a_rank_above_the_servers_limit_has_a_command_that_can_be_run(lab: Machine, server: VllmDouble) -> None:
    server.max_rank = 2
    made(lab, "sql")
    on_vllm(lab, server, "sql")
    said = lab.apply(expect=1).out
    assert "--max-lora-rank 8" in said
    assert str(lab.repository / "adapters" / "sql") in said
    assert str(lab.root / "data") not in said, "our copy is gone by then"


def test_what_vllm_was_started_with_is_left_alone(lab: Machine, server: VllmDouble, tmp_path: Path) -> None:
    server.modules = {"sql": str(lora_files.folder(tmp_path / "theirs"))}
    server.restart()
    made(lab, "sql", rank=2)
    on_vllm(lab, server, "sql")
    assert "unmanaged-conflict" in lab.run("plan", "--detailed-exitcode", expect=4).out
    lab.run("apply", "--yes", expect=4)
    assert server.loras["sql"].path == str(tmp_path / "theirs")


def on_ollama(lab: Machine, server: OllamaDouble) -> tuple[str, Path, dict[str, str]]:
    """An adapter is declared for a base that is there: the base's name, the adapter's file, and the target."""
    base, file = "acme/base:1b", lab.repository / "adapters" / "sql.gguf"
    file.parent.mkdir()
    lora_files.gguf_adapter(file, "llama", {"blk.0.attn_q": (64, 64)}, scale=0.1)
    server.store.put(base, small(0))
    target = {"name": "local", "runtime": "ollama", "endpoint": server.url}
    one = {"name": "sql", "base": base, "source": {"path": "adapters/sql.gguf"}, "serve": [{"target": "local"}]}
    lab.write(targets=[target], adapters=[one])
    return base, file, target


def test_the_journey_on_ollama(lab: Machine, tmp_path: Path) -> None:
    with OllamaDouble(tmp_path / "models") as server:
        base, file, target = on_ollama(lab, server)
        assert lab.plan("--detailed-exitcode", expect=2).rows() == [("attach", "missing", base)]
        lab.apply()
        lab.in_sync()
        lora_files.gguf_adapter(file, "llama", {"blk.0.attn_q": (64, 64)}, scale=0.1, seed=9)
        assert lab.plan("--detailed-exitcode", expect=2).rows() == [("update", "upstream-moved", base)]
        lab.apply()
        lab.in_sync()
        server.version = "0.34.1"  # it makes no more of them, and serves what it has
        lab.in_sync()
        server.version = "0.33.0"
        lab.write(targets=[target], adapters=[])
        lab.apply()
        assert [stored.name.short for stored in server.store.listed()] == [base]


def test_it_changes_hands_on_vllm(lab: Machine, server: VllmDouble, tmp_path: Path) -> None:
    made(lab, "sql")
    on_vllm(lab, server, "sql")
    lab.apply()
    before = lab.plan().data["kept"]
    loads = server.loras["sql"].path
    lab.run("disown", "adapter/sql")
    assert [row["reason"] for row in lab.plan().data["kept"] if row["adapter"]] == ["unmanaged-match"]
    lab.apply()
    assert server.loras["sql"].path == loads
    assert "is ours now" in lab.run("adopt", "adapter/sql").out
    lab.in_sync()
    assert lab.plan().data["kept"] == before
    server.restart()
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [("attach", "drifted", BASE)]
    lab.apply()
    on_vllm(lab, server)
    lab.apply()
    assert (server.loras, [*(lab.root / "data" / "adapters").glob("[0-9a-f]*")]) == ({}, [])


def test_what_a_person_loaded_into_vllm_from_the_source_itself_is_taken_up(lab: Machine, server: VllmDouble) -> None:
    made(lab, "sql")
    source = lab.repository / "adapters" / "sql"
    server.modules = {"sql": str(source)}
    server.restart()
    on_vllm(lab, server, "sql")
    assert [row["reason"] for row in lab.plan().data["kept"] if row["adapter"]] == ["unmanaged-match"]
    lab.run("adopt", "adapter/sql")
    (copy,) = (lab.root / "data" / "adapters").glob("[0-9a-f]*")
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [("update", "drifted", BASE)], "of what may change"
    lab.apply()
    lab.in_sync()
    assert server.loras["sql"].path == str(copy / "files")
    lab.run("disown", "adapter/sql")
    server.modules = {"sql": str(lora_files.folder(lab.repository / "other"))}
    server.restart()
    said = lab.run("adopt", "adapter/sql", "--json", expect=None)
    assert "is not served as the file asks" in said.out
    assert source.is_dir()


def test_on_ollama_a_disowned_one_outlives_its_base_and_is_taken_up(lab: Machine, tmp_path: Path) -> None:
    with OllamaDouble(tmp_path / "models") as server:
        base, _, target = on_ollama(lab, server)
        lab.apply()
        before = lab.plan().data["kept"]
        lab.run("disown", "adapter/sql")
        assert "an adapter of the file, and no model" in lab.run("adopt", "sql:latest", expect=None).err
        lab.run("adopt", "adapter/sql")
        lab.in_sync()
        assert lab.plan().data["kept"] == before
        lab.run("disown", "adapter/sql")
        lab.write(targets=[target], adapters=[], fuses={"allowEmpty": True})
        lab.run("adopt", base)
        assert lab.plan("--detailed-exitcode", expect=2).rows() == [("evict", "not-desired", base)]
        lab.apply(expect=None)
        assert [stored.name.short for stored in server.store.listed()] == ["sql:latest"]
        assert fetch(f"{server.url}/api/generate", {"model": "sql", "prompt": "a", "stream": False})["done"]
