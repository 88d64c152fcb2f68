"""Adapters on a Hub, looked into without fetching their weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import OutsideError, Refused
from reconciler.integrations.catalog.adapters import HubAdapters
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.http import Http
from tests.doubles.hub import HUB, DoubleFile, DoubleRepo, HubDouble
from tests.integrations.catalog.world import StillClock
from tests.lora_files import WIDTHS, folder, gguf_adapter

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SHAPES = {"blk.0.attn_q.weight": (16, 16)}


def looker(double: HubDouble, token: str | None = None) -> HubAdapters:
    http = Http(clock=StillClock(), transport=double.transport())
    return HubAdapters(lambda: HubClient(http, endpoint=HUB, token=token))


def hub(files: dict[str, DoubleFile], **facts: object) -> HubDouble:
    double = HubDouble()
    repo = DoubleRepo("acme/sql", **facts)  # type: ignore[arg-type]
    repo.push(files)
    double.repos[repo.id] = repo
    return double


def peft(tmp_path: Path) -> dict[str, DoubleFile]:
    made = folder(tmp_path / "sql")
    return {
        CONFIG: DoubleFile((made / CONFIG).read_bytes(), lfs=False),
        WEIGHTS: DoubleFile((made / WEIGHTS).read_bytes()),
        "README.md": DoubleFile(b"# hello", lfs=False),
        "checkpoint-10/adapter_model.safetensors": DoubleFile(b"other"),
    }


async def test_files_hashes_and_heads_of_one_commit(tmp_path: Path) -> None:
    files = peft(tmp_path)
    double = hub(files)
    found = await looker(double).look("acme/sql", None, pickles=False)
    assert found.artifact.commit == double.repos["acme/sql"].head
    assert [(one.path, one.sha256) for one in found.artifact.files] == [
        (CONFIG, files[CONFIG].digest),
        (WEIGHTS, files[WEIGHTS].digest),
    ]
    assert found.heads[CONFIG] == files[CONFIG].content
    assert files[WEIGHTS].content.startswith(found.heads[WEIGHTS])


async def test_of_large_weights_only_the_beginning_is_asked_for(tmp_path: Path) -> None:
    files = peft(tmp_path)
    body = files[WEIGHTS].content
    files[WEIGHTS] = DoubleFile(body, size=500_000_000, sha256="ab" * 32)
    found = await looker(hub(files)).look("acme/sql", None, pickles=False)
    assert len(found.heads[WEIGHTS]) < 100_000
    assert found.artifact.files[1].sha256 == "ab" * 32


async def test_large_weights_without_a_hash_cannot_be_verified(tmp_path: Path) -> None:
    files = peft(tmp_path)
    files[WEIGHTS] = DoubleFile(files[WEIGHTS].content, size=500_000_000, lfs=False)
    with pytest.raises(Refused, match="states no SHA-256"):
        await looker(hub(files)).look("acme/sql", None, pickles=False)


async def test_a_gguf_adapter_and_a_tag(tmp_path: Path) -> None:
    made = gguf_adapter(tmp_path / "a.gguf", "llama", SHAPES)
    double = hub({"sql.gguf": DoubleFile(made.read_bytes())})
    double.repos["acme/sql"].refs["v1"] = double.repos["acme/sql"].head
    found = await looker(double).look("acme/sql", "v1", pickles=False)
    assert [one.path for one in found.artifact.files] == ["sql.gguf"]
    assert WIDTHS


@pytest.mark.parametrize(
    ("files", "pickles", "why"),
    [
        ({}, False, "no LoRA adapter"),
        ({"a.gguf": DoubleFile(b"GGUF"), "b.gguf": DoubleFile(b"GGUF")}, False, "several"),
        ({CONFIG: DoubleFile(b"{}", lfs=False), "adapter_model.bin": DoubleFile(b"x")}, False, "pickle"),
        ({WEIGHTS: DoubleFile(b"x")}, False, "no LoRA adapter"),
        ({CONFIG: DoubleFile(b"{}", lfs=False), "adapters.safetensors": DoubleFile(b"x")}, False, "adapter of MLX"),
        (
            {CONFIG: DoubleFile(b"{}", lfs=False), "adapter_model-00001-of-00002.safetensors": DoubleFile(b"x")},
            False,
            "weights in several files",
        ),
    ],
)
async def test_what_is_no_adapter_is_a_clear_no(files: dict[str, DoubleFile], pickles: bool, why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        await looker(hub(files)).look("acme/sql", None, pickles=pickles)
    assert caught.value.code == "not-installable"


async def test_a_pickle_that_is_allowed_is_named_and_never_read() -> None:
    files = {CONFIG: DoubleFile(b"{}", lfs=False), "adapter_model.bin": DoubleFile(b"pickle")}
    double = hub(files)
    found = await looker(double).look("acme/sql", None, pickles=True)
    assert found.heads["adapter_model.bin"] == b""
    assert not any("adapter_model.bin" in one.path for one in double.requests)


async def test_a_gated_adapter_and_one_that_is_not_there() -> None:
    files = {CONFIG: DoubleFile(b"{}", lfs=False), WEIGHTS: DoubleFile(b"x" * 100)}
    with pytest.raises(OutsideError) as caught:
        await looker(hub(files, gated=True)).look("acme/sql", None, pickles=False)
    assert caught.value.code == "gated"
    with pytest.raises(Refused) as caught:
        await looker(HubDouble()).look("acme/none", None, pickles=False)
    assert caught.value.code in {"not-found", "unauthorised"}
