"""A declared adapter on a real llama-server with a real base: file, plan, apply, answers, change, detach, in sync."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.servers.mirror import serve
from tests.e2e.rig import CHAT, SMOL_NAME, SMOL_REPO, Machine, fetch
from tests.e2e.router import Router, copied
from tests.lora_files import adapter_for, gguf_adapter

BASE = f"{SMOL_REPO}:Q4_1"


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "presets.ini"
    path.write_text("version = 1\n\n[*]\nctx-size = 512\n")
    return path


@pytest.fixture
def router(tmp_path: Path, model: Path, llama_server: str, preset: Path) -> Iterator[Router]:
    copied(model, tmp_path / "hub" / SMOL_NAME)
    with (
        serve(tmp_path / "hub") as hub,
        Router(tmp_path / "router", hub.url, "--models-preset", str(preset)) as running,
    ):
        running.hub_url = hub.url  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def lab(tmp_path: Path, router: Router) -> Machine:
    return Machine(tmp_path / "here", router.hub_url)  # type: ignore[attr-defined]


def write(lab: Machine, router: Router, preset: Path, *adapters: dict[str, Any]) -> None:
    target = {
        "name": "router", "runtime": "llama-server", "endpoint": router.url, "cache": str(router.cache),
        "preset": str(preset),
    }  # fmt: skip
    lab.write(CHAT, targets=[target], adapters=list(adapters))


def sql(source: str = "adapters/sql.gguf", **changes: Any) -> dict[str, Any]:
    return {
        "name": "sql", "base": "chat", "source": {"path": source}, "serve": [{"target": "router"}], **changes,
    }  # fmt: skip


def made(lab: Machine, model: Path, seed: int = 1, name: str = "sql") -> Path:
    path = lab.repository / "adapters" / f"{name}.gguf"
    path.parent.mkdir(exist_ok=True)
    return adapter_for(model, path, scale=0.5, seed=seed)


def says(router: Router, name: str) -> str:
    body = {
        "model": name,
        "prompt": "The capital of France is",
        "cache_prompt": False,
        "n_predict": 8,
        "temperature": 0,
    }
    return str(fetch(f"{router.url}/completion", body)["content"])


def held(lab: Machine) -> list[str]:
    root = lab.root / "data" / "adapters"
    return sorted(path.name for path in root.iterdir() if len(path.name) == 64) if root.exists() else []


def test_the_journey_of_an_adapter(lab: Machine, router: Router, preset: Path, model: Path) -> None:
    made(lab, model)
    write(lab, router, preset, sql())
    assert lab.plan("--detailed-exitcode", expect=2).rows() == [
        ("install", "missing", BASE),
        ("attach", "missing", BASE),
    ]
    lab.apply()
    lab.in_sync()
    record = lab.record()
    lab.apply()
    assert lab.record() == record, "a second apply changes nothing"
    plain, answered = says(router, BASE), says(router, "sql")
    assert "Paris" in plain
    assert answered != plain
    assert "adapter sql on" in lab.run("status").out
    (first,) = held(lab)

    write(lab, router, preset, sql(serve=[{"target": "router", "scale": 0.0}]))
    assert lab.plan().rows() == [("update", "serving", BASE)]
    lab.apply()
    lab.in_sync()
    assert says(router, "sql") == plain, "scale 0 is the base"

    made(lab, model, seed=2)
    write(lab, router, preset, sql())
    assert [row[0] for row in lab.plan().rows()] == ["update"]
    lab.apply()
    lab.in_sync()
    assert says(router, "sql") not in (plain, answered)
    assert len(held(lab)) == 1
    assert held(lab) != [first], "the old files went, the new ones stand"

    router.kill()
    router.start()
    lab.in_sync()
    assert says(router, "sql") != plain, "it survives a restart"

    write(lab, router, preset)
    assert [row[0] for row in lab.plan().rows()] == ["detach"]
    lab.apply()
    lab.in_sync()
    assert (held(lab), "sql" in router.models()) == ([], False)
    assert says(router, BASE) == plain


def test_our_copy_is_served_again_while_the_source_is_gone(
    lab: Machine, router: Router, preset: Path, model: Path
) -> None:
    source = made(lab, model)
    write(lab, router, preset, sql())
    lab.apply()
    answered = says(router, "sql")
    source.unlink()
    preset.write_text(preset.read_text().partition("[sql]")[0].rpartition("#")[0])
    fetch(f"{router.url}/models?reload=1")
    assert "sql" not in router.models()
    assert ("attach", "drifted", BASE) in lab.plan("--detailed-exitcode", expect=2).rows()
    lab.apply()
    assert says(router, "sql") == answered


def test_a_damaged_copy_is_seen_made_again_and_read_anew(
    lab: Machine, router: Router, preset: Path, model: Path
) -> None:
    made(lab, model)
    write(lab, router, preset, sql())
    lab.apply()
    answered = says(router, "sql")
    (digest,) = held(lab)
    copy = lab.root / "data" / "adapters" / digest / "files" / "adapter.gguf"
    content = copy.read_bytes()
    for damaged in (content[:200], content[:-20_000] + bytes(20_000)):
        copy.write_bytes(damaged)
        router.kill()
        router.start()
        assert lab.plan("--detailed-exitcode", expect=2).rows() == [("update", "drifted", BASE)]
        lab.run("status")
        with suppress(OSError):
            assert says(router, "sql") != answered, "its process has the damaged one now, or failed with it"
        lab.apply()
        assert (copy.read_bytes(), says(router, "sql")) == (content, answered)
        lab.in_sync()


def test_an_adapter_of_another_architecture_is_refused_before_anything_and_its_base_serves(
    lab: Machine, router: Router, preset: Path
) -> None:
    path = lab.repository / "adapters" / "sql.gguf"
    path.parent.mkdir()
    gguf_adapter(path, "qwen2", {"blk.0.attn_q.weight": (896, 896)})
    write(lab, router, preset, sql())
    lab.apply(expect=None)
    (row,) = lab.plan().data["blocked"]
    assert row["reason"] == "adapter-rejected"
    assert "Paris" in says(router, BASE)
    assert held(lab) == []


def test_destroy_detaches_first_and_leaves_nothing(lab: Machine, router: Router, preset: Path, model: Path) -> None:
    made(lab, model)
    write(lab, router, preset, sql())
    lab.apply()
    lab.run("destroy", "--yes")
    assert (held(lab), router.models()) == ([], {})
    assert "sql" not in preset.read_text()


def test_it_changes_hands_and_nobody_is_asked_to_load_anything(
    lab: Machine, router: Router, preset: Path, model: Path
) -> None:
    made(lab, model)
    write(lab, router, preset, sql())
    lab.apply()
    before, answered, written, (digest,) = lab.plan().data["kept"], says(router, "sql"), preset.read_text(), held(lab)
    lab.run("disown", "adapter/sql")
    assert [row["reason"] for row in lab.plan().data["kept"] if row["adapter"]] == ["unmanaged-match"]
    lab.apply()
    router.kill()
    router.start()
    assert says(router, "sql") == answered, "it is served on"
    lab.run("adopt", "adapter/sql")
    lab.in_sync()
    assert (lab.plan().data["kept"], preset.read_text(), held(lab)) == (before, written, [digest])

    lab.run("disown", BASE)
    lab.run("adopt", BASE)
    lab.in_sync()
    assert lab.run("explain", "adapter/sql", "--json").data["places"][0]["reason"] == "in-sync"

    write(lab, router, preset)
    lab.apply()
    assert (held(lab), "sql" in router.models()) == ([], False), "what was taken up is detached as any of ours"


def test_a_base_is_not_taken_from_under_a_disowned_adapter(
    lab: Machine, router: Router, preset: Path, model: Path
) -> None:
    made(lab, model)
    write(lab, router, preset, sql())
    lab.apply()
    answered = says(router, "sql")
    lab.run("disown", "adapter/sql")
    lab.write(
        targets=[{"name": "router", "runtime": "llama-server", "endpoint": router.url, "cache": str(router.cache),
                  "preset": str(preset)}],
        fuses={"allowEmpty": True},
    )  # fmt: skip
    plan = lab.plan().data
    assert (plan["changes"], [row["reason"] for row in plan["blocked"]]) == ([], ["unmanaged-conflict"])
    assert "adapter sql, which is not ours, is served on it" in lab.apply(expect=None).out
    assert says(router, "sql") == answered
    preset.write_text(preset.read_text().partition("[sql]")[0].rpartition("#")[0])
    fetch(f"{router.url}/models?reload=1")
    assert lab.plan().rows() == [("evict", "not-desired", BASE)]
    lab.apply()
    assert (router.models(), held(lab)) == ({}, [])


def test_a_section_that_somebody_wrote_is_not_taken_up(lab: Machine, router: Router, preset: Path, model: Path) -> None:
    made(lab, model)
    write(lab, router, preset, sql())
    lab.apply()
    lab.run("disown", "adapter/sql")
    text = preset.read_text()
    ours, _, section = text.partition("[sql]")
    preset.write_text(f"{ours.rpartition('#')[0]}\n[sql]{section}")
    said = lab.run("adopt", "adapter/sql", "--json", expect=None)
    assert said.error["code"] == "unmanaged-conflict"
    assert "attaches the adapter" in said.error["hint"]
