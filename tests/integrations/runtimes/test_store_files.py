"""Names: whatever is asked for, nothing outside the store is ever meant."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.errors import Refused
from reconciler.integrations.runtimes import store_files
from reconciler.integrations.runtimes.open_files import open_inodes

PARTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["..", ".", "", "a", "org", "x.gguf", "/", "\\", "con", "NUL.gguf", "..\\..", "~", "a" * 300, "é"]),
)
NAMES = st.lists(PARTS, min_size=1, max_size=10).map("/".join)


@given(NAMES)
@example("../x.gguf")
@example("org/../../x.gguf")
@example("C:/x.gguf")
@example("\ud800/x")
def test_a_name_is_refused_or_stays_inside(name: str) -> None:
    root = Path(tempfile.gettempdir()).resolve() / "a-store-that-is-not-there"
    try:
        path = store_files.place_in(root, name)
    except Refused:
        return
    assert path.resolve() != root
    assert path.resolve().is_relative_to(root)
    assert path.relative_to(root).as_posix() == name
    assert not any(part.startswith(".") for part in path.relative_to(root).parts)
    assert all(len(part.encode()) <= 255 for part in path.parts)


@pytest.mark.parametrize(
    "name",
    [
        "/x",
        "x/",
        "a//b",
        "./a",
        "a/.b",
        "con/a",
        "aux.gguf",
        "a:b",
        "a\\b",
        "a\nb",
        "a ",
        " a",
        "a.",
        "x" * 256,
        "a/" * 9,
    ],
)
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(Refused):
        store_files.safe_parts(name)


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf", "a/b/UD-Q4_K_XL/x-00001-of-00002.gguf", "a/b/Modèle (v1)+x.gguf", "x"],
)
def test_usual_names_are_fine(name: str) -> None:
    assert store_files.safe_parts(name) == tuple(name.split("/"))


def test_open_files_where_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "12").mkdir()
    (tmp_path / "13" / "fd").mkdir(parents=True)
    (tmp_path / "13" / "maps").write_bytes(
        b"7f00-7f01 r--p 00000000 fd:01 4711                       /models/my model.gguf\n"
        b"7f02-7f03 r--p 00000000 00:00 0 \n"
        b"7f02-7f03 r--p 00000000 fd:01 99 /models/other.gguf\n"
    )
    assert open_inodes({4711: "my model.gguf", 99: "x.gguf"}, 1, tmp_path) == {4711}
    assert open_inodes({}, 1, tmp_path) == set()
    assert open_inodes({1: "x"}, 1, tmp_path / "none") == set()


def test_notes_of_ours_are_checked(tmp_path: Path) -> None:
    store_files.save_manifest(tmp_path, "a/b/c.gguf", ["a/b/c.gguf", "a/b/mmproj.gguf"])
    folder = store_files.manifest_path(tmp_path, "x").parent
    (folder / "broken.json").write_text("{")
    (folder / "moved.json").write_text('{"name": "a/b/d.gguf", "files": []}')
    store_files.manifest_path(tmp_path, "../x").write_text('{"name": "../x", "files": ["../x"]}')
    assert store_files.read_manifests(tmp_path) == {"a/b/c.gguf": ("a/b/c.gguf", "a/b/mmproj.gguf")}
