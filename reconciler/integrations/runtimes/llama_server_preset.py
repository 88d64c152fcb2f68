"""The preset file of a llama-server: our sections of it, and not one byte of anybody else's.

A section of ours has a comment line of ours right above it. While the router has not read it yet, the comment says so:
a crash between writing and reading is seen by the next look, and done again.

Source:
    llama.cpp b10434, ``tools/server/README.md``, "Model presets"; tried on the real server.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

from reconciler.domain.estimate import KvCache
from reconciler.domain.observation import Serving
from reconciler.errors import Refused
from reconciler.integrations.replace_file import replace_file
from reconciler.integrations.runtimes.partials import fsync_folder

OURS = "; written by localmodels"
UNREAD = f"{OURS}, not read by the router yet"
LORA_KEYS = ("lora", "lora-scaled")
_HEADER = re.compile(r"^\s*\[(?P<name>[^\]]*)\]")
_SETTING = re.compile(r"^\s*(?P<key>[A-Za-z0-9_-]+)\s*=\s*(?P<value>.*?)\s*$")
_COMMENT = re.compile(r"^\s*[;#]")
_SAID = re.compile(r"^\s*[;#](?!\s*(?:\[|[A-Za-z0-9_-]+\s*=))")
"""A comment that is words, and no line that somebody commented out."""
_LARGEST_BYTES = 1 << 20
_EMPTY = "version = 1\n"


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the file."""

    name: str
    start: int
    """Its first line: our comment, where it is ours."""
    end: int
    is_ours: bool
    is_read: bool
    """The router has read it, as far as we know."""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def serving(self) -> Serving | None:
        """What it says, in our words; None where it says nothing of it, or not what we would."""
        return serving_of(self.settings)

    @property
    def model(self) -> str | None:
        """The model that it names another way; None where it is the section of a model itself, or of an adapter."""
        model = self.settings.get("hf-repo")
        return model if model != self.name and not self.has_adapters else None

    @property
    def has_adapters(self) -> bool:
        """It loads LoRA adapters beside the weights."""
        return any(key in self.settings for key in LORA_KEYS)


class Preset:
    """The file's text, taken apart. Changing it gives another one."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines(keepends=True)
        self.sections = {section.name: section for section in reversed(_sections(self._lines))}

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def with_section(self, name: str, serving: Serving, *, is_read: bool) -> Preset:
        """With a section of ours that says how to serve a model.

        Offline: a router that loads a model fetches whatever its repository offers by then, and checks nothing of it.
        """
        return self.with_settings(name, settings_of(serving) | {"offline": "true"}, is_read=is_read)

    def with_settings(self, name: str, settings: Mapping[str, str], *, is_read: bool) -> Preset:
        """With a section of ours, in place of the one that was there, else at the end; a person's words in it stay."""
        section = self.sections.get(name)
        if section is not None and section.is_ours and section.is_read and section.settings == settings:
            return self
        there = self._lines[section.start + 1 : section.end] if section is not None and section.is_ours else []
        block = [f"{OURS if is_read else UNREAD}\n", *filter(_COMMENT.match, there), f"[{name}]\n"]
        block += [f"{key} = {value}\n" for key, value in settings.items()]
        if section is not None:
            return Preset("".join([*self._lines[: section.start], *block, *self._lines[section.end :]]))
        before = self.text
        gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
        return Preset(before + gap + "".join(block))

    def all_read(self) -> Preset:
        """With nothing left to read: the router has seen what stands here."""
        return Preset("".join(f"{OURS}\n" if line.startswith(UNREAD) else line for line in self._lines))

    def without_section(self, name: str) -> Preset:
        section = self.sections.get(name)
        if section is None:
            return self
        start, kept = section.start, self._lines
        is_apart = section.end == len(kept) or not kept[section.end].strip()
        if start > 0 and is_apart and not kept[start - 1].strip():
            start -= 1  # the blank line that came with it
        return Preset("".join([*kept[:start], *kept[section.end :]]))


def settings_of(serving: Serving) -> dict[str, str]:
    """Flags of the server, without dashes: ``ctx-size`` is for all conversations together."""
    return {
        "ctx-size": str(serving.context * serving.parallel),
        "parallel": str(serving.parallel),
        "cache-type-k": serving.kv_cache,
        "cache-type-v": serving.kv_cache,
        **({"load-on-startup": "true"} if serving.load else {}),
    }


def serving_of(settings: Mapping[str, str]) -> Serving | None:
    """The same backwards; None where they are not such as we write.

    >>> serving_of({"ctx-size": "8192", "parallel": "2"})
    Serving(context=4096, parallel=2, kv_cache='f16', load=False)
    """
    size, parallel = settings.get("ctx-size", ""), settings.get("parallel", "1")
    keys, values = settings.get("cache-type-k", "f16"), settings.get("cache-type-v", "f16")
    if not (size.isdecimal() and parallel.isdecimal() and int(size) and int(parallel)):
        return None
    if int(size) % int(parallel) or keys != values or keys not in get_args(KvCache):
        return None
    return Serving(
        context=int(size) // int(parallel),
        parallel=int(parallel),
        kv_cache=cast("KvCache", keys),
        load=settings.get("load-on-startup") == "true",
    )


def read_preset(path: Path) -> Preset:
    """The file, or an empty one where none is. Blocks.

    Raises:
        Refused: it cannot be read, or is no preset file.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
        if len(raw) > _LARGEST_BYTES:
            raise Refused(f"{path} is too large for a preset file", code="unreadable")
        return Preset(raw.decode("utf-8"))
    except FileNotFoundError:
        return Preset(_EMPTY)
    except IsADirectoryError as error:
        raise Refused(
            f"{path} is a folder, and no preset file",
            code="unreadable",
            hint="move the folder away: the file is made anew; or have `preset:` and --models-preset name another file",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise Refused(
            f"the preset file {path} cannot be read: {reason}",
            code="unreadable",
            hint="the user of this program and the router both have to read it, as text in UTF-8",
        ) from error


def write_preset(path: Path, preset: Preset) -> None:
    """Replace the file in one step; who may read it stays. A link stays a link. Blocks.

    Raises:
        Refused: it cannot be written.
    """
    place = path.resolve()
    try:
        mode = stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o644
        replace_file(place, preset.text.encode(), temporary=f".{place.name}.", mode=mode)
        fsync_folder(place.parent)
    except OSError as error:
        raise Refused(
            f"the preset file {path} cannot be written: {error.strerror or type(error).__name__}",
            code="not-writable",
            hint="let the user of this program write the file and its folder",
        ) from error


def _sections(lines: list[str]) -> list[Section]:
    headers = [(at, match["name"].strip()) for at, line in enumerate(lines) if (match := _HEADER.match(line))]
    starts = [_start(lines, at) for at, _ in headers]
    ends = [*starts[1:], len(lines)] if starts else []
    found = []
    for (at, name), start, end in zip(headers, starts, ends, strict=True):
        ours = start < at
        settings = [match for line in lines[at + 1 : end] if (match := _SETTING.match(line))]
        written = [index + 1 for index in range(at, end) if lines[index].strip() and not _COMMENT.match(lines[index])]
        last = max(written, default=at + 1)  # words that follow are about what comes next
        found.append(
            Section(
                name=name,
                start=start,
                end=last if ours else end,
                is_ours=ours,
                is_read=ours and not lines[start].startswith(UNREAD),
                settings={match["key"]: match["value"] for match in settings},
            )
        )
    return found


def _start(lines: list[str], header: int) -> int:
    """Of a section: our comment, where one stands above its header with nothing between but somebody's words."""
    at = header
    while at > 0 and _SAID.match(lines[at - 1]):
        at -= 1
        if lines[at].startswith(OURS):
            return at
    return header
