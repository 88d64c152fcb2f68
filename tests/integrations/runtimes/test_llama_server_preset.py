from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.observation import Serving
from reconciler.errors import Refused
from reconciler.integrations.runtimes.llama_server_preset import (
    OURS,
    UNREAD,
    Preset,
    read_preset,
    serving_of,
    settings_of,
    write_preset,
)

NAME = "acme/alpha-GGUF:Q8_0"
LONG = Serving(context=8192, parallel=2, kv_cache="q8_0")
THEIRS = """version = 1

; everybody
[*]
threads = 2

[chat]   ; mine
hf-repo = acme/beta-GGUF:Q4_K_M
"""
lines = st.sampled_from(
    ["version = 1", "", "; a word", "[*]", "[chat]", "ctx-size = 512", "  [mine]", "garbage", "# x", "[", "a = b = c"]
)
texts = st.lists(lines, max_size=12).map("\n".join) | st.text(max_size=40).map(lambda text: text.replace("\r", ""))
servings = st.builds(
    Serving,
    context=st.integers(1, 10**6),
    parallel=st.integers(1, 64),
    kv_cache=st.sampled_from(["f16", "q8_0", "q4_0"]),
)


def test_a_section_of_ours() -> None:
    written = Preset(THEIRS).with_section(NAME, LONG, is_read=True)
    assert written.text == (
        f"{THEIRS}\n{OURS}\n[{NAME}]\nctx-size = 16384\nparallel = 2\ncache-type-k = q8_0\ncache-type-v = q8_0\noffline = true\n"
    )
    section = written.sections[NAME]
    assert (section.is_ours, section.is_read, section.serving) == (True, True, LONG)
    assert not written.sections["chat"].is_ours


def test_what_the_router_has_not_read_says_so() -> None:
    section = Preset(THEIRS).with_section(NAME, LONG, is_read=False).sections[NAME]
    assert (section.is_ours, section.is_read) == (True, False)
    assert UNREAD in Preset(THEIRS).with_section(NAME, LONG, is_read=False).text


@given(texts, servings, servings, st.booleans())
def test_nobody_elses_line_is_touched(text: str, first: Serving, second: Serving, read: bool) -> None:
    before = Preset(text)
    if NAME in before.sections:
        return
    once = before.with_section(NAME, first, is_read=False)
    twice = once.with_section(NAME, second, is_read=read)
    assert once.text.startswith(text)
    assert twice.text.startswith(text)
    assert twice.sections[NAME].serving == second
    assert twice.with_section(NAME, second, is_read=read).text == twice.text, "a second time changes nothing"
    assert twice.without_section(NAME).text.rstrip("\n") == text.rstrip("\n")


@given(servings, servings)
def test_sections_of_ours_between_others_are_replaced_where_they_stand(first: Serving, second: Serving) -> None:
    there = Preset(THEIRS).with_section(NAME, first, is_read=True).with_section("acme/b:F16", first, is_read=True)
    more = Preset(there.text + "\n[last]\nmodel = /x.gguf\n")
    changed = more.with_section(NAME, second, is_read=True)
    assert list(changed.text.splitlines()).index(f"[{NAME}]") == list(more.text.splitlines()).index(f"[{NAME}]")
    assert changed.sections["acme/b:F16"].serving == first
    assert changed.text.endswith("\n[last]\nmodel = /x.gguf\n")
    assert NAME not in changed.without_section(NAME).text


@given(st.permutations(["a", "b", "c"]))
def test_sections_that_come_and_go_leave_no_lines_behind(order: list[str]) -> None:
    preset = Preset(THEIRS)
    for name in ("a", "b", "c"):
        preset = preset.with_section(name, LONG, is_read=True)
    for name in order:
        preset = preset.without_section(name)
    assert preset.text == THEIRS


def test_what_a_person_wrote_in_and_after_a_section_of_ours_stays() -> None:
    there = Preset(f"""{OURS}
; tuned by ops, see the ticket
[{NAME}]
# do not lower
ctx-size = 512

; the search team's
[search]
hf-repo = acme/beta-GGUF:Q4_K_M
""")
    assert (there.sections[NAME].is_ours, there.sections["search"].is_ours) == (True, False)
    changed = there.with_section(NAME, LONG, is_read=True)
    assert changed.text.startswith(
        f"{OURS}\n; tuned by ops, see the ticket\n# do not lower\n[{NAME}]\nctx-size = 16384\n"
    )
    assert changed.text.endswith("\n\n; the search team's\n[search]\nhf-repo = acme/beta-GGUF:Q4_K_M\n")
    assert changed.with_section(NAME, LONG, is_read=True).text == changed.text
    assert changed.without_section(NAME).text.strip().startswith("; the search team's\n[search]")


def test_a_section_of_ours_that_was_commented_out_makes_the_next_one_not_ours() -> None:
    text = f"{OURS}\n;[{NAME}]\n;ctx-size = 512\n[search]\nhf-repo = acme/beta-GGUF:Q4_K_M\n"
    assert not Preset(text).sections["search"].is_ours


@given(servings)
def test_settings_and_back(serving: Serving) -> None:
    assert serving_of(settings_of(serving)) == serving


@pytest.mark.parametrize(
    "settings",
    [{}, {"ctx-size": "0"}, {"ctx-size": "max"}, {"ctx-size": "100", "parallel": "3"}, {"ctx-size": "1", "parallel": ""},
     {"ctx-size": "512", "cache-type-k": "q8_0"}, {"ctx-size": "512", "cache-type-k": "iq4_nl", "cache-type-v": "iq4_nl"},
     {"ctx-size": "²"}],
)  # fmt: skip
def test_what_we_would_not_write_is_nothing_we_know(settings: dict[str, str]) -> None:
    assert serving_of(settings) is None


def test_the_file_is_replaced_whole_and_stays_readable_to_whom_it_was(tmp_path: Path) -> None:
    real, link = tmp_path / "real.ini", tmp_path / "link.ini"
    real.write_text(THEIRS)
    real.chmod(0o640)
    link.symlink_to(real)
    write_preset(link, read_preset(link).with_section(NAME, LONG, is_read=True))
    assert link.is_symlink()
    assert real.read_text().startswith(THEIRS)
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.ini", "real.ini"]


def test_a_missing_file_is_begun(tmp_path: Path) -> None:
    write_preset(tmp_path / "new.ini", read_preset(tmp_path / "new.ini").with_section(NAME, LONG, is_read=True))
    assert (tmp_path / "new.ini").read_text().startswith("version = 1\n\n; written")


def test_what_cannot_be_read_or_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.ini").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "big.ini").write_bytes(b"#" * (2 << 20))
    for name in ("bytes.ini", "big.ini", "."):
        with pytest.raises(Refused):
            read_preset(tmp_path / name)
    with pytest.raises(Refused) as raised:
        write_preset(tmp_path / "none" / "x.ini", Preset(THEIRS))
    assert raised.value.code == "not-writable"
