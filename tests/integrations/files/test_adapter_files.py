"""Adapters of this machine: a file that nobody touched is read whole once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.runtimes.digest_cache import FILE_NAME, DigestCache


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(b"one")
    return path


def files(tmp_path: Path) -> Iterator[LocalAdapterFiles]:
    """The same place again, as every run makes it."""
    while True:
        yield LocalAdapterFiles({}, DigestCache(tmp_path / "cache"))


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_what_is_remembered_of_an_untouched_file_is_its_digest(tmp_path: Path, weights: Path) -> None:
    runs = files(tmp_path)
    assert next(runs).digest(str(weights)) == digest(b"one")
    cache = tmp_path / "cache" / FILE_NAME
    cache.write_text(cache.read_text().replace(digest(b"one"), "0" * 64))
    assert next(runs).digest(str(weights)) == "0" * 64, "it is not read again"


def test_a_touched_file_is_read_again(tmp_path: Path, weights: Path) -> None:
    runs, before = files(tmp_path), weights.stat()
    next(runs).digest(str(weights))
    fresh = weights.with_suffix(".new")
    fresh.write_bytes(b"two")
    fresh.replace(weights)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert next(runs).digest(str(weights)) == digest(b"two"), "whatever its dates say"


def test_a_damaged_cache_is_empty(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE_NAME).write_bytes(b"{")
    assert next(files(tmp_path)).digest(str(weights)) == digest(b"one")


def test_without_a_cache_nothing_is_written(tmp_path: Path, weights: Path) -> None:
    assert LocalAdapterFiles({}).digest(str(weights)) == digest(b"one")
    assert [path.name for path in tmp_path.iterdir()] == [weights.name]
