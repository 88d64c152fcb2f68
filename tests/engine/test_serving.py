"""Telling a target how to serve: after an install, and by itself when only that has drifted."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.domain.desired import Target
from reconciler.domain.observation import ObservedTarget, Serving, TargetObservation
from reconciler.engine.reconcile import reconcile
from reconciler.engine.verdict import exit_code_of_report
from reconciler.errors import Refused
from tests.engine.worlds import ALPHA, OPTIONS, Fakes, fakes, pin
from tests.fakes import FakeRuntime

ROUTER = Target(name="router", runtime="llama-server", endpoint="http://127.0.0.1:8080", preset="/presets.ini")
NAME = f"{ALPHA}-GGUF:Q4_K_M"


@dataclass
class Telling(FakeRuntime):
    """A target that can be told how to serve."""

    told: dict[str, Serving] = field(default_factory=dict)
    refuses: Refused | None = None

    async def observe(self) -> TargetObservation:
        found = await super().observe()
        assert isinstance(found, ObservedTarget)
        here = (
            one.model_copy(update={"serving": self.told.get(one.name), "serving_is_ours": True})
            for one in found.installed
        )
        return found.model_copy(update={"installed": tuple(here)})

    async def serve(self, name: str, wanted: Serving) -> None:
        self.calls.append(f"serve {name}")
        if self.refuses is not None:
            raise self.refuses
        self.told[name] = wanted


def telling(context: int = 8192) -> tuple[Fakes, Telling]:
    here = fakes(pin("a", ALPHA, context=context), targets=[ROUTER])
    runtime = Telling(ROUTER)
    here.runtimes[ROUTER.key] = runtime
    return here, runtime


async def test_it_is_told_once_it_is_there_and_never_again() -> None:
    here, runtime = telling()
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert runtime.told == {NAME: Serving(context=8192)}
    generation, calls = here.record.generation, [call for call in runtime.calls if call != "observe"]
    assert calls == [f"install {NAME}", f"serve {NAME}"]
    await reconcile(here.world, OPTIONS)
    assert [call for call in runtime.calls if call != "observe"] == calls
    assert here.record.generation == generation


async def test_drift_of_what_it_is_told_is_repaired_without_a_download() -> None:
    here, runtime = telling()
    await reconcile(here.world, OPTIONS)
    runtime.told.clear()
    entry = here.record.entries
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert runtime.calls.count(f"install {NAME}") == 1
    assert here.record.entries == entry


async def test_a_refusal_is_told_and_the_install_stands() -> None:
    here, runtime = telling()
    runtime.refuses = Refused("the command line wins", hint="start it without -c")
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.hint) == ("failed", "start it without -c")
    assert outcome.message == "it is installed, but not served as asked: the command line wins"
    assert exit_code_of_report(report) == 3
    assert here.owned() == {NAME}


async def test_nobody_is_cut_off_and_the_next_run_does_it() -> None:
    here, runtime = telling()
    await reconcile(here.world, OPTIONS)
    runtime.told.clear()
    runtime.refuses = Refused("busy", code="in-use")
    report = await reconcile(here.world, OPTIONS)
    assert [(one.status, one.code) for one in report.outcomes] == [("skipped", "in-use")]
    assert exit_code_of_report(report) == 0
    runtime.refuses = None
    assert (await reconcile(here.world, OPTIONS)).verified
