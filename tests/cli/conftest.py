"""Fixtures of the command line's tests: a folder of its own, and nothing of this machine's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.servers.mirror import serve
from tests.cli.gguf_files import make_gguf
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


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """URL of our own mirror with two tiny models of one publisher."""
    folder = tmp_path / "mirrored"
    make_gguf(folder / "acme/tiny-GGUF/tiny-Q8_0.gguf")
    make_gguf(folder / "acme/other-GGUF/other-Q8_0.gguf")
    with serve(folder) as mirror:
        yield mirror.url
