"""Every way a step can be found half-way, and what the next run makes of it."""

from __future__ import annotations

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.record import Intent, Record, RecordEntry
from reconciler.domain.units import Bytes
from reconciler.engine.bookkeeping import entry_for
from reconciler.engine.recover import recover, swept
from tests.engine.worlds import ALPHA, art, foreign, name_of
from tests.fakes import FAKE_NOW, FakeRuntime

LOCAL = Target(name="local", runtime="store", path="/models")
OLLAMA = Target(name="local", runtime="ollama", endpoint="http://127.0.0.1:11434")


def intent(
    action: str = "install", *, target: Target = LOCAL, name: str = name_of(ALPHA), existed: bool = False
) -> Intent:
    row = Row(
        address="slot/a[0]",
        action=Action.INSTALL,
        reason=Reason.MISSING,
        target=target.name,
        target_key=target.key,
        name=name,
        slots=("slot/a[0]",),
        model_id=ALPHA,
        artifact=art(ALPHA),
    )
    return Intent.model_validate(
        {
            "id": "1",
            "action": action,
            "target_key": target.key,
            "target_name": target.name,
            "name": name,
            "entry": None if action == "evict" else entry_for(row, FAKE_NOW),
            "existed": existed,
            "begun_at": FAKE_NOW,
        }
    )


def owned(**changes: object) -> RecordEntry:
    found = intent().entry
    assert found is not None
    return found.model_copy(update={"digest": art(ALPHA).digest, "stamp": "theirs", **changes})


async def after(
    begun: Intent,
    *models: Installed,
    entries: tuple[RecordEntry, ...] = (),
    partial: str = "",
    runtime: FakeRuntime | None = None,
) -> Record:
    seen = ObservedTarget(
        name="local", key=begun.target_key, installed=models, partial_names=(partial,) if partial else ()
    )
    record = Record(name="default", entries=entries, intents=(begun,), generation=1)
    runtimes = {"local": runtime} if runtime else {}
    return (await recover(record, (seen,), runtimes, now=FAKE_NOW)).record


async def test_an_install_that_arrived_is_ours() -> None:
    found = await after(intent(), foreign(ALPHA))
    (entry,) = found.entries
    assert (entry.digest, entry.stamp, entry.slots) == (art(ALPHA).digest, "theirs", ("slot/a[0]",))
    assert not found.intents


async def test_an_install_that_left_nothing_never_happened() -> None:
    found = await after(intent())
    assert (found.entries, found.intents) == ((), ())


async def test_an_unfinished_download_stays_ours() -> None:
    assert (await after(intent(), partial=name_of(ALPHA))).intents


async def test_what_is_kept_without_a_name_is_not_called_nothing() -> None:
    begun = intent(target=OLLAMA)
    seen = ObservedTarget(name="local", key=begun.target_key, partial_bytes=Bytes(5_000_000))
    found = await recover(Record(name="default", intents=(begun,)), (seen,), {}, now=FAKE_NOW)
    (note,) = found.notes
    assert note.endswith("did not finish; 5.0 MB of unfinished downloads are kept there for resuming")


async def test_other_content_under_the_name_is_left_alone() -> None:
    found = await after(intent(), foreign(ALPHA, "other"))
    assert found.entries == found.intents == ()


async def test_what_was_there_before_us_stays_foreign() -> None:
    assert (await after(intent(existed=True), foreign(ALPHA))).entries == ()


async def test_content_that_a_look_cannot_tell_is_read() -> None:
    runtime = FakeRuntime(LOCAL)
    silent = foreign(ALPHA, digest=None)
    runtime.put(silent)
    runtime.digests[silent.name] = art(ALPHA).digest
    (entry,) = (await after(intent(), silent, runtime=runtime)).entries
    assert entry.digest == art(ALPHA).digest
    runtime.digests[silent.name] = "something else"
    assert (await after(intent(), silent.model_copy(update={"files": ()}), runtime=runtime)).intents == ()


@pytest.mark.parametrize(
    ("blob", "ours"), [(f"sha256:{art(ALPHA).files[0].sha256}", True), ("sha256:something-else", False)]
)
async def test_on_ollama_the_blobs_tell(blob: str, ours: bool) -> None:
    begun = intent(target=OLLAMA, name="hf.co/acme/alpha-1b-GGUF:Q4_K_M")
    model = Installed(name="hf.co/ACME/alpha-1b-GGUF:Q4_K_M", bytes=Bytes(5), digest="manifest", blobs=(blob,))
    found = await after(begun, model)
    assert [entry.name for entry in found.entries] == ([begun.name] if ours else [])


@pytest.mark.parametrize(("size", "ours"), [(5_000_000_400, True), (3_000_000_000, False)])
async def test_where_nothing_else_tells_the_size_does(size: int, ours: bool) -> None:
    begun = intent(target=OLLAMA, name="hf.co/acme/alpha-1b-GGUF:Q4_K_M")
    model = Installed(name=begun.name, bytes=Bytes(size), digest="manifest")
    assert bool((await after(begun, model)).entries) is ours


async def test_an_update_that_did_not_happen_leaves_the_old_entry() -> None:
    old = owned(digest="old", stamp="old")
    found = await after(intent("update"), foreign(ALPHA, digest="old", stamp="old"), entries=(old,))
    assert found.entries == (old,)
    assert not found.intents


async def test_an_update_that_arrived_is_recorded() -> None:
    (entry,) = (await after(intent("update"), foreign(ALPHA), entries=(owned(digest="old", stamp="old"),))).entries
    assert entry.digest == art(ALPHA).digest


async def test_an_eviction_that_happened_is_recorded_and_one_that_did_not_is_dropped() -> None:
    gone = await after(intent("evict"), entries=(owned(),))
    assert gone.entries == gone.intents == ()
    still = await after(intent("evict"), foreign(ALPHA), entries=(owned(),))
    assert still.entries == (owned(),)
    assert not still.intents


async def test_a_target_that_does_not_answer_or_left_the_file_closes_nothing() -> None:
    record = Record(name="default", entries=(owned(),), intents=(intent("evict"),), generation=1)
    unknown = UnknownTarget(name="local", key=LOCAL.key, reason="down")
    for targets in ((unknown,), ()):
        assert (await recover(record, targets, {}, now=FAKE_NOW)).record == record


async def test_what_a_finished_download_left_beside_it_is_thrown_away_and_nothing_with_a_name() -> None:
    runtime = FakeRuntime(LOCAL, partials={"org/somebody/else.gguf": 5})
    seen = await runtime.observe()
    begun = intent()
    before = Record(name="default", intents=(begun,), generation=1)
    assert await swept(before, before, (seen,), {"local": runtime}) == ()
    assert not [call for call in runtime.calls if call.startswith("clean")]
    runtime.partials["left by a crash"] = 1
    after = before.without_intent(begun.id)
    assert await swept(before, after, (seen,), {"local": runtime}) == ()
    assert runtime.calls[-1] == "clean left by a crash"
    assert list(runtime.partials) == ["org/somebody/else.gguf"]


async def test_what_was_half_removed_is_removed_wholly() -> None:
    runtime = FakeRuntime(LOCAL)
    begun = intent("evict")
    before = Record(name="default", intents=(begun,), generation=1)
    await swept(before, before.without_intent(begun.id), (await runtime.observe(),), {"local": runtime})
    assert runtime.calls[-1] == f"remove {begun.name}"
    runtime.put(foreign(ALPHA))
    await swept(before, before.without_intent(begun.id), (await runtime.observe(),), {"local": runtime})
    assert begun.name in runtime.installed
