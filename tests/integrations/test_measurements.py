"""What was measured survives everything but a person's hand; a file that is not ours costs nothing but itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.domain.measurement import machine_key
from reconciler.errors import RecordError, RecordLocked
from reconciler.integrations.measurements import MeasurementFile
from tests.builders import hardware
from tests.fakes import FAKE_NOW, FixedClock
from tests.measurements import MACHINE, measured


def store(folder: Path) -> MeasurementFile:
    return MeasurementFile(folder, FixedClock())


async def test_a_look_creates_nothing(tmp_path: Path) -> None:
    found = await store(tmp_path / "state").load(MACHINE)
    assert (found.kept, found.notes) == ((), ())
    assert list(tmp_path.iterdir()) == []


async def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    assert await store(tmp_path).add((measured(), measured("beta"))) == ()
    assert set((await store(tmp_path).load(MACHINE)).kept) == {measured(), measured("beta")}


async def test_the_newest_of_one_build_and_context_stays(tmp_path: Path) -> None:
    await store(tmp_path).add((measured(hours=2, runs=5),))
    await store(tmp_path).add((measured(), measured(context=8192), measured(runtime="llama-server")))
    kept = (await store(tmp_path).load(MACHINE)).kept
    assert {(one.context, one.runtime, one.runs) for one in kept} == {
        (4096, "ollama", 5), (8192, "ollama", 1), (4096, "llama-server", 1),
    }  # fmt: skip


async def test_another_machine_sees_its_own(tmp_path: Path) -> None:
    other = machine_key(hardware(ram_gib=32))
    await store(tmp_path).add((measured(), measured(machine=other, runs=7)))
    assert [one.runs for one in (await store(tmp_path).load(other)).kept] == [7]
    assert [one.runs for one in (await store(tmp_path).load(MACHINE)).kept] == [1]


async def test_history_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    await store(tmp_path).add(tuple(measured(f"m{number}", hours=number) for number in range(205)))
    kept = (await store(tmp_path).load(MACHINE)).kept
    assert len(kept) == 200
    assert min(one.measured_at for one in kept) == FAKE_NOW + timedelta(hours=5)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"formatVersion": 9}', b'{"measurements": [{"machine": 3}]}', b"\xff\xfe"]
)
async def test_a_damaged_file_is_told_at_a_look_and_set_aside_at_the_next_measurement(
    tmp_path: Path, content: bytes
) -> None:
    here = store(tmp_path)
    here.path.write_bytes(content)
    found = await here.load(MACHINE)
    assert found.kept == ()
    assert "measure again" in found.notes[0]
    assert here.path.read_bytes() == content, "a look changes nothing"
    (note,) = await here.add((measured(),))
    (aside,) = tmp_path.glob("measurements.json.bad-*")
    assert aside.name in note
    assert aside.read_bytes() == content
    assert (await here.load(MACHINE)).kept == (measured(),)


async def test_a_file_that_cannot_be_read_is_a_note(tmp_path: Path) -> None:
    here = store(tmp_path)
    here.path.mkdir()
    found = await here.load(MACHINE)
    assert found.kept == ()
    assert "cannot be read" in found.notes[0]


async def test_a_state_directory_that_is_no_folder_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(RecordError, match="cannot keep what was measured") as raised:
        await store(tmp_path / "state").add((measured(),))
    assert "LOCALMODELS_STATE_DIR" in (raised.value.hint or "")


async def test_whatever_stands_in_its_place_is_kept_aside(tmp_path: Path) -> None:
    here = store(tmp_path)
    here.path.mkdir()
    (here.path / "in the way").write_text("somebody's")
    await here.add((measured(),))
    (aside,) = tmp_path.glob("measurements.json.bad-*")
    assert (aside / "in the way").read_text() == "somebody's"
    assert (await here.load(MACHINE)).kept == (measured(),)
    assert list(tmp_path.glob("measurements.tmp-*")) == []


async def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    await asyncio.gather(one.add((measured(),)), other.add((measured("beta"),)))
    assert len((await one.load(MACHINE)).kept) == 2


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    here = store(tmp_path / "state")
    await here.add((measured(),))
    assert oct(here.path.stat().st_mode & 0o077) == "0o0"


@pytest.mark.parametrize("speed", [-5, float("nan"), 1e300])
async def test_a_value_that_is_no_speed_costs_only_itself_and_is_told(tmp_path: Path, speed: float) -> None:
    here = store(tmp_path)
    await here.add((measured(), measured("beta", decode_tokens_per_second=7.0)))
    here.path.write_text(here.path.read_text().replace("7.0", str(speed).replace("nan", "NaN")))
    found = await here.load(MACHINE)
    assert found.kept == (measured(),)
    assert "acme/beta Q4_K_M" in found.notes[0]
    await here.add((measured("gamma"),))
    assert len(list(tmp_path.glob("measurements.json.bad-*"))) == 1
    assert (await here.load(MACHINE)).notes == ()


async def test_only_one_measures_at_a_time(tmp_path: Path) -> None:
    async with store(tmp_path).measuring(timeout_seconds=0):
        with pytest.raises(RecordLocked, match="at work on measuring"):
            async with store(tmp_path).measuring(timeout_seconds=0):
                pass
