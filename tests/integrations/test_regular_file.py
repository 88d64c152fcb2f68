"""What may be opened without waiting for anybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.integrations.regular_file import open_regular


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    file = open_regular(tmp_path / "a")
    assert file is not None
    with file:
        assert file.read() == b"abc"


def test_a_pipe_and_a_folder_are_none_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert open_regular(tmp_path / "pipe") is None
    assert open_regular(str(tmp_path)) is None


def test_what_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "nothing")
    with pytest.raises(ValueError, match="null byte"):
        open_regular("a\0b")
