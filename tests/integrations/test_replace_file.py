from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.integrations.replace_file import replace_file


def test_the_whole_content_stands_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    for content in (b"old", b"new"):
        replace_file(path, content, temporary="kept.tmp-")
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_it_has_the_mode_that_was_asked_for(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "kept.json"
    replace_file(path, b"", temporary="kept.tmp-", mode=mode)
    assert path.stat().st_mode & 0o777 == mode


def test_what_cannot_be_replaced_stays_and_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"kept\.json"):
        replace_file(path, b"new", temporary="kept.tmp-")
    assert list(tmp_path.iterdir()) == [path]
