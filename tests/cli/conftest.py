"""Fixtures of the command line's tests: a folder of its own, and nothing of this machine's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.servers.mirror import serve
from tests.cli.line import Line


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Line:
    folder = tmp_path / "here"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("LOCALMODELS_", "HF_"))]:
        monkeypatch.delenv(name)
    for kind in ("STATE", "CACHE", "DATA"):
        monkeypatch.setenv(f"LOCALMODELS_{kind}_DIR", str(tmp_path / kind.lower()))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(folder)
    return Line(folder, capsys)


def make_gguf(path: Path) -> None:
    """A tiny model file with a real header."""
    import numpy as np
    from gguf import GGUFWriter

    path.parent.mkdir(parents=True)
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_file_type(7)
    writer.add_tensor("token_embd.weight", np.zeros((128, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """URL of our own mirror with two tiny models of one publisher."""
    folder = tmp_path / "mirrored"
    make_gguf(folder / "acme/tiny-GGUF/tiny-Q8_0.gguf")
    make_gguf(folder / "acme/other-GGUF/other-Q8_0.gguf")
    with serve(folder) as mirror:
        yield mirror.url
