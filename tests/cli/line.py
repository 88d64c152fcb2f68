"""The command line in this process: arguments in, exit code and both streams out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.run import run
from tests.fakes import FixedClock

TODAY = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENVELOPE = {"schemaVersion", "ok", "data", "error", "warnings"}


@dataclass(frozen=True)
class Answer:
    """What one run came to."""

    code: int
    out: str
    err: str

    @property
    def envelope(self) -> dict[str, Any]:
        """The JSON of a run with ``--json``; one document and nothing else on stdout."""
        found = json.loads(self.out)
        assert set(found) == ENVELOPE
        assert found["schemaVersion"] == "1"
        assert found["ok"] is (found["error"] is None)
        if found["error"]:
            assert set(found["error"]) == {"code", "message", "hint", "details"}
        return found

    @property
    def data(self) -> Any:
        assert self.envelope["ok"], self.envelope
        return self.envelope["data"]

    @property
    def error(self) -> dict[str, Any]:
        assert not self.envelope["ok"]
        return self.envelope["error"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of a stream: the first says ``version``, the last is the ``report``, each once."""
        lines = [json.loads(line) for line in self.out.splitlines()]
        kinds = [line["type"] for line in lines]
        assert kinds[0] == "version"
        assert kinds[-1] == "report"
        assert kinds.count("version") == kinds.count("report") == 1
        return lines


class Line:
    """Runs ``localmodels`` in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.clock: FixedClock | None = FixedClock(TODAY)
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Answer:
        self._capsys.readouterr()
        code = run(list(arguments), clock=self.clock)
        said = self._capsys.readouterr()
        return Answer(code, said.out, said.err)

    def write(self, text: str, name: str = "localmodels.yaml") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def stable(self, text: str) -> str:
        """Without what differs from one machine to the next."""
        text = text.replace(str(self.folder), "FOLDER")
        text = re.sub(r"http://127\.0\.0\.1:\d+", "http://MIRROR", text)
        text = re.sub(
            r"[\d.]+ [KMGT]?B free on disk, [\d.]+ [KMGT]?B stay free", "FREE free on disk, ROOM stay free", text
        )
        return re.sub(r"[\d.]+ [KMGT]B of [\d.]+ [KMGT]B disk free", "FREE of ALL disk free", text)
