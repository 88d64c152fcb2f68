"""Corpora in memory, and drafts that remember what was kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from reconciler.errors import OutOfSpace, UsageError
from reconciler.lora.corpus import CorpusLine
from reconciler.ports import CorpusFile


class MemoryCorpus:
    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._content = content
        self._read = False

    def lines(self) -> Iterator[CorpusLine]:
        for number, content in enumerate(self._content.splitlines(), start=1):
            yield CorpusLine(number, content)
        self._read = True

    @property
    def sha256(self) -> str:
        assert self._read, "asked before every line was read"
        return sha256(self._content).hexdigest()


class MemoryDrafts:
    def __init__(self, files: MemoryFiles, out: str | None, manifest: str | None) -> None:
        self._files, self._out, self._manifest = files, out, manifest
        self.rows, self.text = "", ""

    def add(self, line: str) -> None:
        if self._files.room is not None and len(self.rows) + len(line) > self._files.room:
            raise OutOfSpace("full")
        self.rows += line

    def dataset_sha256(self) -> str | None:
        return sha256(self.rows.encode()).hexdigest() if self._out is not None else None

    def put_manifest(self, text: str) -> str:
        self.text = self._files.spoil(text)
        return self.text

    def keep(self) -> None:
        if self._out is not None:
            self._files.written[self._out] = self.rows
        if self._manifest is not None:
            self._files.written[self._manifest] = self.text


class MemoryFiles:
    """Holds files by name, and what was written."""

    def __init__(self, **corpora: Any) -> None:
        self.corpora = {
            name: rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
            for name, rows in corpora.items()
        }
        self.written: dict[str, str] = {}
        self.room: int | None = None
        self.spoil = lambda text: text

    def corpus(self, named: str) -> MemoryCorpus:
        if named not in self.corpora:
            raise UsageError("no corpus", code="file-unreadable")
        return MemoryCorpus(f"{named}.jsonl", self.corpora[named])

    def text(self, named: str, *, limit: int) -> bytes:
        return self.corpora[named][:limit]

    @contextmanager
    def drafts(
        self, out: str | None, manifest: str | None, *, apart_from: Sequence[CorpusFile]
    ) -> Iterator[MemoryDrafts]:
        yield MemoryDrafts(self, out, manifest)
