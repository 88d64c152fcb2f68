"""The commands that edit the file: the file is the truth, so the change is shown and nothing else happens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reconciler.cli.outcome import print_json
from reconciler.cli.streams import one_line
from reconciler.cli.views.table import paint
from reconciler.cli.wiring import Wiring
from reconciler.domain.families import family_warnings
from reconciler.errors import DesiredStateError, UsageError
from reconciler.integrations.files import edit
from reconciler.integrations.files.desired_file import read_content, read_desired

Change = Callable[[str], str]


def set_budget(file: Path | None, size: str, *, as_json: bool) -> int:
    """``pool set-budget``."""
    return edited(Wiring(file=file), lambda text: edit.set_budget(text, size), as_json=as_json)


def allow_org(file: Path | None, org: str, *, as_json: bool) -> int:
    """``pool allow-org``."""
    return edited(Wiring(file=file), lambda text: edit.allow_org(text, org), as_json=as_json)


def allow_family(file: Path | None, family: str, *, as_json: bool) -> int:
    """``pool allow-family``."""
    if not family.strip():
        raise UsageError("a family needs a name", hint="such as qwen, qwen3 or llama-3")
    return edited(Wiring(file=file), lambda text: edit.allow_family(text, family), as_json=as_json)


def install(
    file: Path | None, name: str, *, quant: str | None, target: str | None, slot_name: str | None, as_json: bool
) -> int:
    """``install``: a pin."""
    return edited(Wiring(file=file), lambda text: edit.add_pin(text, name, quant, target, slot_name), as_json=as_json)


def edited(wiring: Wiring, change: Change, *, as_json: bool) -> int:
    """Change the file, show the difference, and say what to do next.

    Raises:
        DesiredStateError: the file is not valid; or, code ``edit-refused``, it would not be. It stays as it was.
    """
    path = wiring.path
    before = _text(path)
    after = change(before)
    difference = edit.unified_diff(before, after, path.name)
    warnings = _saved(wiring, path, before, after) if after != before else ()
    if as_json:
        print_json({"file": str(path), "changed": after != before, "diff": difference}, warnings=warnings)
    elif after == before:
        sys.stdout.write(f"{path} says so already; nothing is changed\n")
    else:
        sys.stdout.write(_coloured(difference))
        sys.stderr.write("".join(one_line(f"warning: {warning}") + "\n" for warning in warnings))
        sys.stderr.write("next: localmodels plan shows what it means, localmodels apply does it\n")
    return 0


def _saved(wiring: Wiring, path: Path, before: str, after: str) -> tuple[str, ...]:
    """What a person should know of the file as it is now."""
    try:
        desired = edit.save(path, after, environment=wiring.environment)
    except DesiredStateError as error:
        if not error.problems:
            raise
        read_desired(before, source=str(path.absolute()), environment=wiring.environment)  # that one's own come first
        raise _refused(path, error) from None
    return (*desired.notices, *family_warnings(desired, wiring.bundled.models))


def _refused(path: Path, error: DesiredStateError) -> DesiredStateError:
    """The problems of a file that was never written: without lines, which would be another file's."""
    return DesiredStateError(
        f"this edit would make {path} invalid, so nothing was written:",
        code="edit-refused",
        file=error.file,
        problems=tuple(replace(problem, line=None, column=None) for problem in error.problems),
    )


def _text(path: Path) -> str:
    try:
        return read_content(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DesiredStateError(f"{path} is not UTF-8 text", file=str(path), hint="save it as UTF-8") from error


def _coloured(difference: str) -> str:
    return "".join(_line(line) for line in difference.splitlines(keepends=True))


def _line(line: str) -> str:
    if line.startswith(("+++", "---")):
        return line
    colour = {"+": "green", "-": "red", "@": "dim"}.get(line[:1])
    return paint(line.rstrip("\n"), colour) + "\n" if colour else line
