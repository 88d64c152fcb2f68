"""The desired state from a file: found, read, checked whole, turned into the value the rest of the code reads."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from reconciler.domain.desired import DesiredState
from reconciler.domain.desired_document import Document
from reconciler.domain.desired_reading import settings_of, to_desired
from reconciler.domain.desired_scalars import URL
from reconciler.errors import DesiredStateError, Problem
from reconciler.integrations.files.checking import checked, settings_path
from reconciler.integrations.files.yaml_positions import MAX_BYTES, Loaded, load_yaml

FILE_NAME = "localmodels.yaml"
FILE_VARIABLE = "LOCALMODELS_FILE"


class DesiredFile:
    """One file on disk as a ``DesiredSource``. It is read again at every load."""

    def __init__(self, path: Path, *, environment: Mapping[str, str]) -> None:
        self._path = Path(os.path.abspath(path))  # noqa: PTH100 - a symlink keeps its own name
        self._environment = environment

    @property
    def path(self) -> Path:
        return self._path

    async def load(self) -> DesiredState:
        content = await asyncio.to_thread(read_content, self._path)
        return read_desired(content, source=str(self._path), environment=self._environment)


def find_file(explicit: Path | None, environment: Mapping[str, str], start: Path) -> Path:
    """``explicit``, else ``$LOCALMODELS_FILE``, else ``localmodels.yaml`` in ``start`` or the nearest folder above.

    Raises:
        DesiredStateError: none of the three is there.
    """
    if explicit is not None:
        return explicit
    named = environment.get(FILE_VARIABLE)
    if named:
        return Path(named)
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise DesiredStateError(
        f"no {FILE_NAME} in {start} or above it",
        code="desired-state-missing",
        hint=f"'localmodels init' writes one; '-f FILE' or ${FILE_VARIABLE} names another",
    )


def read_content(path: Path) -> bytes:
    """The file's bytes; one more than allowed at most.

    Raises:
        DesiredStateError: it is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        code, hint = "desired-state-missing", "'localmodels init' writes one; '-f FILE' names another"
        raise DesiredStateError(f"{path} does not exist", file=str(path), code=code, hint=hint) from None
    except IsADirectoryError:
        hint = f"name the file in it, such as {path / FILE_NAME}"
        raise DesiredStateError(f"{path} is a folder", file=str(path), hint=hint) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DesiredStateError(f"{path} cannot be read: {reason}", file=str(path)) from None


def read_desired(
    text: str | bytes, *, source: str, environment: Mapping[str, str], thorough: bool = False
) -> DesiredState:
    """The desired state of a file's content.

    Args:
        text: the content.
        source: the file, for messages and the record; its folder is where relative paths start.
        environment: stands in for what ``hub`` leaves out.
        thorough: hold an accepted document against the JSON Schema too, as ``validate`` does.

    Raises:
        DesiredStateError: every problem of the file at once.
    """
    loaded = load_yaml(text)
    document, problems = checked(loaded, thorough=thorough)
    problems = [*loaded.problems, *problems, *_environment_problems(document, environment)]
    if document is None or problems:
        raise _invalid(source, problems)
    return to_desired(
        document,
        environment=environment,
        folder=str(Path(source).parent),
        source=source,
        digest=hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest(),
        slot_lines=_lines(loaded, document, "slots", len(settings_of(document).slots or ())),
        adapter_lines=_lines(loaded, document, "adapters", len(settings_of(document).adapters)),
    )


def _invalid(source: str, problems: Iterable[Problem]) -> DesiredStateError:
    unique = {(problem.path, problem.line, problem.message): problem for problem in problems}
    ordered = sorted(unique.values(), key=lambda problem: (problem.line or 0, problem.column or 0, problem.path))
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    return DesiredStateError(f"{source} is not valid: {count}", file=source, problems=ordered)


def _environment_problems(document: Document | None, environment: Mapping[str, str]) -> list[Problem]:
    """``$HF_ENDPOINT`` counts as part of the file where the file leaves the endpoint to it."""
    endpoint = environment.get("HF_ENDPOINT")
    hub = settings_of(document).hub if document is not None else None
    if not endpoint or (hub is not None and hub.endpoint is not None) or re.search(URL.pattern, endpoint):
        return []
    hint = "set it to such a URL, unset it, or write 'hub: {endpoint: …}'"
    return [Problem("$HF_ENDPOINT", f"the environment variable does not hold {URL.allowed}", hint=hint)]


def _lines(loaded: Loaded, document: Document, key: str, count: int) -> tuple[int | None, ...]:
    """Where each item of a list of the settings stands, counted from 1."""
    where = (*settings_path(document), key)
    places = [loaded.values.get((*where, index)) for index in range(count)]
    return tuple(place.line if place else None for place in places)
