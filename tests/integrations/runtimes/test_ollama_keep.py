"""Updates on Ollama: the old content is kept until the new one is proven, and put back where it turns out wrong."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reconciler.domain.names import OllamaName
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Action
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_keep import is_kept, kept_name
from tests.doubles.ollama import Faults, OllamaDouble
from tests.doubles.ollama_rig import Heard, QuickClock, install_row, library_row, runtime_on, small
from tests.doubles.ollama_store import Name
from tests.doubles.registry_front_memory import MemoryRegistry

OLD, NEW, MOVED = small(1), small(2), small(3)
REPO = "Org/Tiny-GGUF"
HUB_NAME = f"hf.co/{REPO}:Q4_K_M"
KEPT = kept_name("tiny:1b", NEW.digest)


@pytest.fixture
def registry():
    with MemoryRegistry() as registry:
        registry.add("library/tiny:1b", OLD)
        registry.add(f"{REPO}:Q4_K_M", OLD)
        yield registry


@pytest.fixture
def double(tmp_path, registry):
    hosts = {"registry.ollama.ai": registry.url, "hf.co": registry.url}
    with OllamaDouble(tmp_path / "models", registries=hosts) as double:
        yield double


@pytest.fixture
async def runtime(double):
    runtime = runtime_on(double, max_pull_retries=0)
    yield runtime
    await runtime.close()


@pytest.fixture
async def installed(runtime, registry):
    """The old content is there, and the registry offers the new one."""
    await runtime.install(library_row("tiny:1b", OLD), Heard())
    registry.add("library/tiny:1b", NEW)
    return runtime


def update(model):
    return library_row("tiny:1b", model, Action.UPDATE)


def standing(double) -> dict[str, str]:
    return {stored.name.short: stored.digest for stored in double.store.all()}


def blobs(double) -> set[str]:
    return {path.name.replace("-", ":", 1) for path in double.store.blobs.iterdir() if "-partial" not in path.name}


async def observed(runtime) -> ObservedTarget:
    seen = await runtime.observe()
    assert isinstance(seen, ObservedTarget), seen
    return seen


def test_the_second_name_is_one_that_a_server_takes():
    assert is_kept(KEPT)
    assert OllamaName.parse(KEPT).canonical == KEPT == kept_name("TINY:1B", NEW.digest)
    assert kept_name("tiny", NEW.digest) != KEPT != kept_name("tiny:1b", OLD.digest)
    assert not is_kept("tiny:1b")


async def test_the_old_content_is_there_until_the_new_one_is_proven(installed, double):
    during = []
    await installed.install(update(NEW), lambda *_: during.append(standing(double)))
    assert all(OLD.digest in seen.values() for seen in during[:-1])
    assert standing(double) == {"tiny:1b": NEW.digest}
    assert blobs(double) == {blob.digest for blob in NEW.blobs}


async def test_a_first_install_keeps_nothing(runtime, double):
    await runtime.install(library_row("tiny:1b", OLD), Heard())
    assert "/api/copy" not in {path for _, path in double.requests}


async def test_other_weights_of_a_hub_model_are_stopped_at_their_first_line(runtime, double, registry):
    await runtime.install(install_row(HUB_NAME, OLD.hub_artifact(REPO)), Heard())
    registry.add(f"{REPO}:Q4_K_M", MOVED)
    double.pace.bytes_per_second = 200_000
    with pytest.raises(Corrupt) as raised:
        await runtime.install(install_row(HUB_NAME, NEW.hub_artifact(REPO), Action.UPDATE), Heard())
    assert "the pull was stopped" in raised.value.hint
    assert double.store.blob(MOVED.weights.digest).exists() is False
    assert standing(double) == {HUB_NAME: OLD.digest}


async def test_what_slipped_through_is_put_back(runtime, double, registry):
    """Other weights, too small to be taken for such while they come."""
    await runtime.install(install_row(HUB_NAME, OLD.hub_artifact(REPO)), Heard())
    registry.add(f"{REPO}:Q4_K_M", small(4, size=20_000))
    with pytest.raises(Corrupt) as raised:
        await runtime.install(install_row(HUB_NAME, NEW.hub_artifact(REPO), Action.UPDATE), Heard())
    assert "the old content stands there again" in raised.value.message
    assert standing(double) == {HUB_NAME: OLD.digest}
    assert blobs(double) == {blob.digest for blob in OLD.blobs}


async def test_a_pull_that_was_left_and_writes_all_the_same_is_undone(double, registry):
    class Late(QuickClock):
        """The server writes its manifest half a second after we left."""

        async def sleep(self, seconds):
            await super().sleep(seconds)
            if len(self.slept) == 2:
                double.store.put("tiny:1b", MOVED)

    runtime = runtime_on(double, clock=Late(), max_pull_retries=0)
    await runtime.install(library_row("tiny:1b", OLD), Heard())
    registry.add("library/tiny:1b", MOVED)
    double.pace.bytes_per_second = 200_000
    with pytest.raises(Corrupt):
        await runtime.install(update(NEW), Heard())
    assert standing(double) == {"tiny:1b": OLD.digest}
    await runtime.close()


@pytest.mark.parametrize(
    "faults",
    [
        Faults(error_after=50_000),
        Faults(manifest_error="pull model manifest: file does not exist"),
        Faults(no_space_after=60_000),
        Faults(digest_mismatch=True),
        Faults(disconnect_after=50_000),
        Faults(end_after=50_000),
        Faults(error_then_success="oh"),
    ],
)
async def test_an_update_that_fails_loses_nothing(installed, double, faults):
    double.faults = faults
    with contextlib.suppress(OutsideError):
        await installed.install(update(NEW), Heard())
    (name,) = standing(double)
    assert name == "tiny:1b"
    assert standing(double)[name] in (OLD.digest, NEW.digest)
    held = OLD if standing(double)[name] == OLD.digest else NEW
    assert {blob.digest for blob in held.blobs} <= blobs(double)


async def test_an_update_that_is_stopped_loses_nothing_and_keeps_no_second_name(installed, double):
    double.pace.bytes_per_second = 100_000
    arrived = asyncio.Event()
    task = asyncio.create_task(installed.install(update(NEW), lambda done, *_: arrived.set() if done else None))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert standing(double) == {"tiny:1b": OLD.digest}


def cut_off(double, *, under=MOVED):
    """As a run leaves it that was killed between the end of a wrong pull and its check."""
    double.store.write(Name.parse(KEPT), OLD.manifest)
    double.store.put("tiny:1b", under)


async def test_what_a_cut_off_run_kept_is_not_seen_as_a_model_and_is_told(installed, double):
    cut_off(double)
    seen = await observed(installed)
    assert [model.name for model in seen.installed] == ["tiny:1b"]
    assert any("update that was cut off" in note for note in seen.notes)


async def test_the_next_run_settles_what_a_cut_off_one_left(installed, double):
    cut_off(double)
    await installed.install(update(NEW), Heard())
    assert standing(double) == {"tiny:1b": NEW.digest}
    assert blobs(double) == {blob.digest for blob in NEW.blobs}


async def test_the_next_run_puts_the_older_content_back_where_it_fails_too(installed, double):
    cut_off(double)
    double.faults = Faults(manifest_error="pull model manifest: file does not exist")
    with pytest.raises(Refused):
        await installed.install(update(NEW), Heard())
    assert standing(double) == {"tiny:1b": OLD.digest}


async def test_what_is_kept_goes_with_its_model(installed, double):
    cut_off(double)
    await installed.remove("tiny:1b")
    assert standing(double) == {}
    assert blobs(double) == set()


async def test_what_is_kept_of_no_update_any_more_is_cleaned_up(installed, double):
    cut_off(double, under=NEW)
    assert await installed.clean_partials(frozenset({"tiny:1b"})) == 0
    assert await installed.clean_partials(frozenset()) == OLD.size
    assert standing(double) == {"tiny:1b": NEW.digest}


async def test_what_may_have_to_be_put_back_is_not_cleaned_up(installed, double):
    """A look cannot tell the right content from a wrong one; what was to come can."""
    cut_off(double)
    assert await installed.clean_partials(frozenset()) == 0
    assert KEPT in standing(double)


async def test_what_is_kept_of_a_hub_model_is_cleaned_up_when_its_file_is_there(runtime, double, registry):
    wanted = NEW.hub_artifact(REPO)
    double.store.put(kept_name(HUB_NAME, wanted.digest), OLD)
    double.store.put(HUB_NAME, NEW)
    assert await runtime.clean_partials(frozenset()) == OLD.size
    assert standing(double) == {HUB_NAME: NEW.digest}


async def test_another_update_takes_over_what_a_cut_off_one_kept(installed, double, registry):
    cut_off(double)
    registry.add("library/tiny:1b", small(5))
    double.faults = Faults(manifest_error="pull model manifest: file does not exist")
    with pytest.raises(Refused):
        await installed.install(update(small(5)), Heard())
    assert standing(double) == {"tiny:1b": OLD.digest}


async def test_a_server_that_cannot_copy_updates_nothing(installed, double):
    double.faults.status["/api/copy"] = (500, b'{"error":"disk quota"}')
    with pytest.raises(Unreachable):
        await installed.install(update(NEW), Heard())
    assert double.pulled == ["tiny:1b"]
    assert standing(double) == {"tiny:1b": OLD.digest}
