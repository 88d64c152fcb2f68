"""What the documentation says is what the program is: generated parts are fresh, lists are complete, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

import reconciler
from reconciler.__main__ import main
from reconciler.domain import plan as plans
from reconciler.domain.plan import Action, Plan, Reason
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.integrations.files.desired_file import read_desired
from reconciler.integrations.files.schema import generate_schema

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PLAN_FORMAT = (ROOT / "docs" / "plan-format.md").read_text(encoding="utf-8")


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DOCS = _script()


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """The words in backquotes of each row's first cell."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.mark.parametrize("name", DOCS.DOCUMENTS)
def test_generated_parts_are_fresh(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert DOCS.MARK.search(text)
    assert text == DOCS.fresh(text), "run 'python scripts/docs.py'"


def test_a_part_that_is_not_fresh_is_found() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "score " in text
    assert DOCS.fresh(text.replace("score ", "points ")) == text


def test_the_plan_of_the_readme_is_of_the_file_of_the_readme() -> None:
    shown = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    path = str(DOCS.EXAMPLE)
    ours, theirs = (
        read_desired(text, source=path, environment={}).model_copy(update={"digest": "", "slots": ()})
        for text in (shown[1], DOCS.EXAMPLE.read_text(encoding="utf-8"))
    )
    assert ours == theirs


def test_the_readme_has_exactly_two_commands_for_a_fresh_machine() -> None:
    text = section((ROOT / "README.md").read_text(encoding="utf-8"), "Try it")
    assert re.findall(r"^\$ (.+)$", text, re.MULTILINE) == ["make quickstart", "make test"]
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{name}:" in targets for name in ("quickstart", "test", "check", "bench", "contracts"))


# Every key of the file.


def documented_keys() -> dict[str, list[str]]:
    text = section((ROOT / "docs" / "desired-state.md").read_text(encoding="utf-8"), "Keys")
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    return {place: first_cells(body) for place, body in zip(parts[::2], parts[1::2], strict=True)}


def test_every_key_of_the_schema_is_documented() -> None:
    """Independent of how the tables are made: the schema's own classes against the words on the page."""
    definitions = generate_schema()["$defs"]
    places, found = dict(DOCS.PLACES), documented_keys()
    assert set(definitions) == set(places) | DOCS.ALIKE
    for kind, place in places.items():
        wanted = definitions["Block" if kind == "Settings" else kind]["properties"]
        assert found[place] == list(wanted), place


def test_a_default_that_is_shown_is_the_schemas() -> None:
    definitions: dict[str, Any] = generate_schema()["$defs"]
    text = (ROOT / "docs" / "desired-state.md").read_text(encoding="utf-8")
    assert f"| `maxEvictions` | integer | `{definitions['Fuses']['properties']['maxEvictions']['default']}` |" in text
    assert "| `diskBudget` | size | 100GiB |" in text


# The plan as a document.


def test_every_reason_is_documented_and_no_other() -> None:
    assert first_cells(section(PLAN_FORMAT, "Reasons")) == [reason.value for reason in Reason]


def test_every_action_is_documented_with_its_sign() -> None:
    text = section(PLAN_FORMAT, "Actions")
    assert re.findall(r"^\| `(\w+)` \| `(.)` \|", text, re.MULTILINE) == [(one.value, one.sign) for one in Action]


@pytest.mark.parametrize("kind", [Plan, plans.Row], ids=lambda kind: kind.__name__)
def test_every_field_is_documented(kind: type[BaseModel]) -> None:
    assert first_cells(section(PLAN_FORMAT, kind.__name__)) == aliases(kind)


@pytest.mark.parametrize(
    "kind",
    [plans.Standing, plans.RowEvidence, plans.Drift, plans.Refusal, plans.Budget, plans.Fingerprint, plans.Overrides,
     plans.Summary],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_every_field_of_the_smaller_parts_is_documented(kind: type[BaseModel]) -> None:
    row = next(line for line in PLAN_FORMAT.splitlines() if line.startswith(f"| {kind.__name__} "))
    words = re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", row.split(" | ", 1)[1]))
    assert words == aliases(kind)


def aliases(kind: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in kind.model_fields.items()]


# Pages.


def anchors_and_links(page: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for link in anchors_and_links(page):
        if not link.startswith(("https://", "http://")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_the_machine_it_was_written_on(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for word in (f"{ROOT}/", "/tmp/"):
        assert word not in text


def test_every_page_is_reachable_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        linked = {(page.parent / link).resolve() for link in anchors_and_links(page) if link.endswith(".md")}
        waiting.extend(linked - seen - set(waiting))
    assert {page for page in PAGES if page.parent.name == "docs"} <= seen


def test_the_size_of_the_catalogue_is_the_shipped_ones() -> None:
    shipped = load_bundled()
    said = f"{len(shipped.models):,} models and {len(shipped.observations):,} third-party observations"
    assert said in " ".join((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split())
    assert said in " ".join((ROOT / "docs" / "data-sources.md").read_text(encoding="utf-8").split())


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"localmodels {reconciler.__version__}\n"
    assert project["name"] == "localmodels"
    assert project.get("version", reconciler.__version__) == reconciler.__version__
