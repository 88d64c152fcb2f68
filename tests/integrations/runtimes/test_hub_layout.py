from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.integrations.runtimes.hub_layout import cache_directories, look
from tests.integrations.runtimes.router_double import CONTENT, NAME, put, sha


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({"LLAMA_CACHE": "/a", "HF_HUB_CACHE": "/b"}, "/a"),
        ({"HF_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/b"),
        ({"HUGGINGFACE_HUB_CACHE": "/b"}, "/b"),
        ({"HF_HOME": "/c", "XDG_CACHE_HOME": "/d"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"LLAMA_CACHE": ""}, "/home/me/.cache/huggingface/hub"),
    ],
)
def test_where_a_server_keeps_its_downloads(environ: dict[str, str], first: str) -> None:
    assert str(cache_directories({"HOME": "/home/me", **environ})[0]) == first


def test_a_folder_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    view = look(tmp_path / "none")
    assert view is not None
    assert (view.models, view.partial_bytes) == ({}, 0)
    assert view.disk.free_bytes > 0


def test_a_snapshot_of_shards_and_what_is_none_of_ours(tmp_path: Path) -> None:
    for number in (1, 2):
        put(tmp_path, f"Q8_0/alpha-Q8_0-0000{number}-of-00002.gguf", CONTENT + bytes([number]))
    put(tmp_path, "config.json", b"{}")
    put(tmp_path, "model.gguf", b"no tag")
    (tmp_path / "datasets--a--b").mkdir()
    (tmp_path / "models--odd").mkdir()
    view = look(tmp_path)
    assert view is not None
    assert list(view.models) == [NAME]
    assert view.models[NAME].bytes == 2 * len(CONTENT) + 2
    assert not view.models[NAME].is_ambiguous
    assert view.models[NAME].files[0].stated_sha256 == sha(CONTENT + b"\x01")


def test_the_head_counts_before_older_snapshots(tmp_path: Path) -> None:
    put(tmp_path)
    old = tmp_path / "models--acme--alpha-GGUF/snapshots" / ("a" * 40)
    old.mkdir()
    (old / "alpha-Q8_0.gguf").write_bytes(b"older")
    (old / "alpha-F16.gguf").write_bytes(b"only there")
    view = look(tmp_path)
    assert view is not None
    assert view.models[NAME].bytes == len(CONTENT)
    assert view.models["acme/alpha-GGUF:F16"].commit == "a" * 40


def test_a_link_to_nowhere_is_no_file(tmp_path: Path) -> None:
    put(tmp_path).unlink()
    view = look(tmp_path)
    assert view is not None
    assert view.models == {}


def test_what_is_no_text_is_not_looked_at(tmp_path: Path) -> None:
    put(tmp_path)
    (tmp_path / "models--acme--alpha-GGUF/refs/main").write_bytes(b"\xff\xfe")
    assert look(tmp_path) is None
