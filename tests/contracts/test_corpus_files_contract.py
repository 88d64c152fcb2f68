"""What every ``CorpusFiles`` keeps, the one on a disk and the one the engine's tests use."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.errors import UsageError
from reconciler.integrations.files.corpus_files import LocalCorpusFiles
from reconciler.ports import CorpusFiles
from tests.engine.lora.corpus_fakes import MemoryFiles

CONTENT = b"one\n\ntwo\nthree"


class Here:
    """Files of one kind, with a corpus called ``corpus``, and what was written to ``out`` and ``note``."""

    def __init__(self, files: CorpusFiles, written: Callable[[str], str | None], place: Callable[[str], str]) -> None:
        self.files, self.written, self.place = files, written, place


@pytest.fixture(params=["disk", "memory"])
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Here:
    if request.param == "memory":
        memory = MemoryFiles(corpus=CONTENT)
        return Here(memory, memory.written.get, lambda name: name)
    (tmp_path / "corpus").write_bytes(CONTENT)

    def written(name: str) -> str | None:
        return (tmp_path / name).read_text() if (tmp_path / name).exists() else None

    return Here(LocalCorpusFiles(), written, lambda name: str(tmp_path / name))


def test_every_line_comes_once_and_then_the_hash_is_known(here: Here) -> None:
    corpus = here.files.corpus(here.place("corpus"))
    assert [(line.number, line.content) for line in corpus.lines()] == [
        (1, b"one"), (2, b""), (3, b"two"), (4, b"three"),
    ]  # fmt: skip
    assert corpus.sha256 == sha256(CONTENT).hexdigest()


def test_a_corpus_that_is_not_there_is_wrong_usage(here: Here) -> None:
    with pytest.raises(UsageError) as found:
        here.files.corpus(here.place("gone"))
    assert found.value.code == "file-unreadable"


@pytest.mark.parametrize("keep", [True, False])
def test_both_files_are_there_once_they_are_kept_and_not_before(here: Here, keep: bool) -> None:
    with here.files.drafts(here.place("out"), here.place("note"), apart_from=()) as drafts:
        drafts.add("a\n")
        drafts.add("b\n")
        assert drafts.dataset_sha256() == sha256(b"a\nb\n").hexdigest()
        assert drafts.put_manifest("{}\n") == "{}\n"
        assert (here.written("out"), here.written("note")) == (None, None)
        if keep:
            drafts.keep()
    assert (here.written("out"), here.written("note")) == (("a\nb\n", "{}\n") if keep else (None, None))


def test_without_places_nothing_is_written(here: Here) -> None:
    with here.files.drafts(None, None, apart_from=()) as drafts:
        drafts.add("a\n")
        assert drafts.dataset_sha256() is None
        assert drafts.put_manifest("{}") == "{}"
        drafts.keep()
    assert (here.written("out"), here.written("note")) == (None, None)
