"""Write the generated parts of the documentation, or say which of them are not fresh.

    python scripts/docs.py           write them
    python scripts/docs.py --check   change nothing; exit 1 when one of them is not fresh

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. The plan is a real one, of
``examples/server.yaml`` for a simulated machine, on a fixed day and with a fixed amount of free disk, so that it does not
depend on where it is made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reconciler.integrations.files.schema import generate_schema

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "server.yaml"
SHOWN_FOLDER = "/srv/models"
DAY = "2026-11-22T12:00:00Z"
FREE_BYTES, DISK_BYTES = 400 * 10**9, 1000 * 10**9
MARK = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def example() -> str:
    """The example as the README shows it: without the line for editors."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return "```yaml\n" + "\n".join(lines[1:]) + "\n```\n"


def plan() -> str:
    """The plan of the example, as ``plan --offline --hardware rtx-4090`` prints it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shutil.copy(EXAMPLE, folder / "localmodels.yaml")
        seen = folder / "observation.json"
        _run(folder, "observe", "--offline", "--out", str(seen))
        seen.write_text(json.dumps(_fixed(json.loads(seen.read_text(encoding="utf-8")))), encoding="utf-8")
        text = _run(folder, "plan", "--observation", str(seen), "--hardware", "rtx-4090")
    shown = text.replace(str(folder), SHOWN_FOLDER).rstrip()
    return f"```console\n$ localmodels plan --offline --hardware rtx-4090\n{shown}\n```\n"


def _fixed(document: dict[str, Any]) -> dict[str, Any]:
    """The observation on a fixed day, of a disk of a fixed size."""
    document["observation"]["now"] = DAY
    for target in document["observation"]["targets"]:
        target["disk"] |= {"freeBytes": FREE_BYTES, "totalBytes": DISK_BYTES}
    return document


def _run(folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LOCALMODELS_", "HF_"))}
    environment |= {f"LOCALMODELS_{kind}_DIR": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "DATA")}
    environment |= {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "reconciler", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


# The keys of the file, from its schema.

PLACES = (
    ("Settings", "localModels"),
    ("Pool", "pool"),
    ("Slot", "slots[]"),
    ("Target", "targets[]"),
    ("Installer", "installer"),
    ("Adapter", "adapters[]"),
    ("AdapterSource", "adapters[].source"),
    ("HubSource", "adapters[].source.hub"),
    ("Expected", "adapters[].expect"),
    ("LargestRank", "adapters[].expect.rank"),
    ("Contract", "adapters[].contract"),
    ("ChatTemplate", "adapters[].contract.chatTemplate"),
    ("Gate", "adapters[].gate"),
    ("AdapterServing", "adapters[].serve[]"),
    ("Conversion", "adapters[].convert"),
    ("Fuses", "fuses"),
    ("Refresh", "refresh"),
    ("Hub", "hub"),
    ("SecretReference", "hub.tokenFrom"),
    ("HardwareOverride", "hardware.override"),
    ("Limits", "limits"),
    ("HarnessFit", "harnessFit"),
    ("Long", "the Kubernetes form"),
    ("Metadata", "metadata"),
)
"""Classes of the schema in the order of the document, with where each stands."""
ALIKE = frozenset({"Plain", "Block", "Hardware", "TargetOverride"})
"""Classes without a table of their own: a wrapper, or a class shown under another name."""


def keys() -> str:
    """One table per part of the file: key, type, default, meaning."""
    schema = generate_schema()
    parts = []
    for kind, place in PLACES:
        definition = schema["$defs"]["Block" if kind == "Settings" else kind]
        head = f"### {place}\n\n{definition['description']}\n\n| key | type | default | meaning |\n|---|---|---|---|\n"
        parts.append("\n" + head + "".join(_line(schema, definition, key) for key in definition["properties"]))
    return "".join(parts) + "\n"


def _line(schema: dict[str, Any], definition: dict[str, Any], key: str) -> str:
    entry = definition["properties"][key]
    meaning, _, absent = entry["description"].partition(" Without it: ")
    default = absent.rstrip(".") if absent else _default(definition, key, entry)
    if absent and ". " in absent:
        meaning, default = entry["description"], "see meaning"
    cells = (f"`{key}`", _type(schema, entry), default or "–", meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _default(definition: dict[str, Any], key: str, entry: dict[str, Any]) -> str:
    if key in definition.get("required", ()):
        return "required"
    if "default" not in entry:
        return ""
    return f"`{json.dumps(entry['default'])}`" if entry["default"] != {} else "`{}`"


def _type(schema: dict[str, Any], entry: dict[str, Any]) -> str:
    if "$ref" in entry:
        return "mapping"
    if "const" in entry:
        return f"`{entry['const'] if isinstance(entry['const'], str) else json.dumps(entry['const'])}`"
    if "enum" in entry:
        return ", ".join(f"`{choice}`" for choice in entry["enum"])
    if "anyOf" in entry or "oneOf" in entry:
        names = {_type(schema, choice) for choice in entry.get("anyOf", entry.get("oneOf", ()))}
        return " or ".join(sorted(names))
    if entry.get("type") == "array":
        if not entry.get("items"):
            return "empty list"
        item = _type(schema, entry["items"])
        return "list of mappings" if item == "mapping" else f"list of {item}"
    return {"string": _text(entry), "object": "mapping", "boolean": "`true`, `false`"}.get(
        entry.get("type", ""), entry.get("type", "")
    )


def _text(entry: dict[str, Any]) -> str:
    pattern = entry.get("pattern", "")
    if "[bB]" in pattern:
        return "size"
    if "https?" in pattern:
        return "URL"
    return "duration" if "ms" in pattern and "[0-9]" in pattern else "text"


PARTS: dict[str, Callable[[], str]] = {"example": example, "plan": plan, "keys": keys}
DOCUMENTS = ("README.md", "docs/desired-state.md")


def fresh(text: str) -> str:
    """A document with every generated part made anew."""
    return MARK.sub(lambda found: found[1] + PARTS[found["name"]]() + found[3], text)


def stale() -> Iterator[tuple[Path, str]]:
    """Documents that are not fresh, with the text they should have."""
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        wanted = fresh(text)
        if wanted != text:
            yield path, wanted


def main() -> int:
    check = "--check" in sys.argv[1:]
    found = list(stale())
    for path, text in found:
        print(f"{path.relative_to(ROOT)} is not fresh" if check else f"{path.relative_to(ROOT)} written")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
