"""``validate``: every problem of one file or of several, offline."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.cli.outcome import print_json
from reconciler.domain.desired import DesiredState
from reconciler.errors import DesiredStateError, Problem
from reconciler.integrations.files.desired_file import find_file, read_content, read_desired


def validate_file(file: Path | None, *, as_json: bool) -> int:
    """Say what the file declares, or raise with everything that is wrong in it."""
    desired = _read(find_file(file, os.environ, Path.cwd()))
    if as_json:
        print_json(_declared(desired), warnings=desired.notices)
    else:
        sys.stdout.write(_lines(desired))
    return 0


def validate_files(files: Sequence[Path], *, as_json: bool) -> int:
    """The same for several files: what the valid ones declare, and everything that is wrong in the others.

    Raises:
        DesiredStateError: one of them is not valid; the problems of all files in one error.
    """
    valid, wrong = [], []
    for file in dict.fromkeys(files):
        try:
            valid.append(_read(file))
        except DesiredStateError as error:
            wrong.append(error)
    if not as_json:
        sys.stdout.write("".join(_lines(desired) for desired in valid))
        sys.stdout.flush()
    if wrong:
        raise wrong[0] if len(wrong) + len(valid) == 1 else _together(wrong, len(wrong) + len(valid))
    if as_json:
        notices = [f"{desired.source}: {notice}" for desired in valid for notice in desired.notices]
        print_json({"files": [_declared(desired) for desired in valid]}, warnings=notices)
    return 0


def _read(file: Path) -> DesiredState:
    path = file.absolute()
    return read_desired(read_content(path), source=str(path), environment=os.environ, thorough=True)


def _together(wrong: Sequence[DesiredStateError], count: int) -> DesiredStateError:
    problems = tuple(problem for error in wrong for problem in _problems(error))
    message = f"{len(wrong)} of {_counted(count, 'file')} not valid: {_counted(len(problems), 'problem')}"
    return DesiredStateError(message, problems=problems)


def _problems(error: DesiredStateError) -> tuple[Problem, ...]:
    """The problems of one file, each with its file; a file that cannot be read is one itself."""
    problems = error.problems or (Problem("", error.message, hint=error.hint),)
    return tuple(replace(problem, file=error.file) for problem in problems)


def _declared(desired: DesiredState) -> dict[str, Any]:
    slots, targets = [slot.name for slot in desired.slots], [target.name for target in desired.targets]
    adapters = [adapter.name for adapter in desired.adapters]
    return {"file": desired.source, "name": desired.name, "slots": slots, "targets": targets, "adapters": adapters}


def _lines(desired: DesiredState) -> str:
    words = f"{_counted(len(desired.slots), 'slot')}, {_counted(len(desired.targets), 'target')}"
    words += f", {_counted(len(desired.adapters), 'adapter')}" if desired.adapters else ""
    notices = [f"note: {notice}" for notice in desired.notices]
    return "\n".join([f"{desired.source} is valid: {desired.name}, {words}", *notices]) + "\n"


def _counted(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
