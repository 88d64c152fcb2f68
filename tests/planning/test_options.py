"""Options and rejections that are made when they are looked at are those that judging every candidate makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import Pool, Slot, Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.measurement import Measurement, machine_key
from reconciler.domain.names import OLLAMA_LIBRARY
from reconciler.domain.observation import Installed, ObservedTarget, Resolved, Unavailable
from reconciler.domain.plan import Overrides
from reconciler.domain.units import GB, Bytes
from reconciler.planning.eligible import candidates_for, consider, judge
from reconciler.planning.option import FORBIDDEN, Option, Rejected
from reconciler.planning.options import Joined, Options, Rejections
from reconciler.planning.placing import name_on, need_for
from reconciler.planning.scene import Scene
from reconciler.ranking.order import order_key
from tests.builders import NOW, artifact, desired, entry, hardware, observation, record, target
from tests.ranking.generated import generated_catalogue

TARGETS = (
    target(),
    target("ollama", runtime="ollama", path=None, endpoint="http://localhost:11434"),
    target("mirrored", runtime="ollama", path=None, endpoint="http://localhost:11435", registry="registry.lan:5000"),
    target("server", runtime="llama-server", path=None, endpoint="http://localhost:8080"),
    target("advice", runtime="advisory", path=None, program="lms"),
    target("vllm", runtime="advisory", path=None, program="vllm"),
)
MACHINES = (hardware(), hardware(vram_gib=0, ram_gib=24), hardware(vram_gib=8, ram_gib=16), hardware(vram_gib=96))


def eager(scene: Scene, slot: Slot, where: Target) -> tuple[list[Option], list[Rejected]]:
    """Every candidate judged by itself: the brute force."""
    verdicts = [judge(scene, slot, where, candidate) for candidate in candidates_for(scene, where)]
    rejected = [one for one in verdicts if isinstance(one, Rejected)]
    rejected.sort(key=lambda one: one.reason not in FORBIDDEN)
    options = [one for one in verdicts if isinstance(one, Option)]
    return sorted(options, key=lambda one: order_key(one.assessment)), rejected


SLOTS = st.builds(
    Slot,
    name=st.just("a"),
    profile=st.sampled_from(["general", "general", "coding", "embedding"]),
    context=st.sampled_from([None, None, 8192, 200_000, "max"]),
    quants=st.sampled_from([(), (), ("Q4_K_M", "q8_0")]),
    max_size=st.sampled_from([None, None, Bytes(6 * GB)]),
    min_tokens_per_second=st.sampled_from([None, None, 8.0, 40.0]),
    capabilities=st.sampled_from([(), (), (), ("tools",)]),
    parallel=st.sampled_from([1, 1, 3]),
)


def catalogues() -> st.SearchStrategy[Catalogue]:
    return st.builds(
        lambda seed, tools, repeated: _varied(generated_catalogue(16, seed), tools, repeated),
        st.integers(0, 999), st.integers(0, 16), st.integers(0, 16),
    )  # fmt: skip


def _varied(known: Catalogue, tools: int, repeated: int) -> Catalogue:
    """Some with capabilities, of another line, without a size, tagged; one with a quant twice in its repository."""
    models = list(known.models)
    for index in range(tools):
        models[index] = replace(models[index], capabilities=(("tools", ("test",)),), ollama_tag=f"m{index}:8b")
    for index in range(4, len(models), 5):
        models[index] = replace(models[index], line="coder", context_length=None if index % 2 else 4096)
    for one in models[repeated : repeated + 1]:
        first, second = one.repositories
        build = first.builds[-1]
        twice = (*first.builds, replace(build, bytes=Bytes(build.bytes + 1)), replace(build, bytes=Bytes(0)), build)
        models[repeated] = replace(one, repositories=(replace(first, builds=twice), second))
    return replace(known, models=tuple(models))


def _trusting(known: Catalogue) -> Pool:
    publishers = sorted({one.publisher for one in known.models})
    return Pool(
        disk_budget=Bytes(100 * GB),
        allowed_orgs=tuple(publishers),
        packagers=("packer", OLLAMA_LIBRARY),
        never=(f"{known.models[0].id}*",),
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    known = draw(catalogues())
    want = desired(targets=TARGETS, pool=_trusting(known))
    machine = draw(st.sampled_from(MACHINES))
    bare = Scene(want, observation(known, *(_observed(one) for one in TARGETS)), record(), Overrides())
    targets, entries, answers = [], [], []
    for where in TARGETS:
        some = draw(st.lists(st.sampled_from(candidates_for(bare, where)), max_size=4, unique_by=lambda one: one.key))
        there = []
        for candidate in some:
            kind = draw(st.sampled_from(["ours", "foreign", "elsewhere", "gone", "resolved", "refused", "outage"]))
            name = name_on(where, candidate)
            there += _standing(candidate, name, kind)
            if kind in ("ours", "gone"):
                files = artifact(candidate.repository.id, candidate.quant)
                entries.append(
                    entry(files, "slot/a[0]", model_id=candidate.model.id, quant=candidate.quant, name=name,
                          target_key=where.key, target_name=where.name)
                )  # fmt: skip
            answers += _answer(candidate, where, kind)
        targets.append(_observed(where, tuple({one.name: one for one in there}.values())))
    seen = observation(
        known, *targets, answers=tuple({one.need: one for one in answers}.values()),
        measurements=_measured(known, draw(st.sampled_from([0, 0, 3])), draw(st.floats(0.2, 5))),
        hardware=observation(known).hardware.model_copy(update={"hardware": machine}),
    )  # fmt: skip
    return Scene(want, seen, record(*entries), Overrides())


def _observed(where: Target, there: tuple[Installed, ...] = ()) -> ObservedTarget:
    return ObservedTarget(name=where.name, key=where.key, installed=there)


def _standing(candidate: Candidate, name: str, kind: str) -> list[Installed]:
    """As the runtime tells it: under the name we would give, in other letters, or under a name of its own."""
    said = {"bytes": Bytes(7 * GB), "repo": candidate.repository.id, "quant": candidate.quant, "stamp": "s"}
    if kind == "ours":
        return [Installed(name=name, **said)]
    if kind == "foreign":
        return [Installed(name=name.upper(), bytes=Bytes(3 * GB), stamp="s")]
    return [Installed(name="somewhere/else", **said)] if kind == "elsewhere" else []


def _answer(candidate: Candidate, where: Target, kind: str) -> list[Resolved | Unavailable]:
    need = need_for(candidate, where, None)
    if need is None or kind not in ("resolved", "refused", "outage"):
        return []
    if kind == "resolved":
        files = artifact(candidate.repository.id, candidate.quant, size=candidate.bytes + 5)
        return [Resolved(need=need, artifact=files)]
    code = "not-found" if kind == "refused" else "unreachable"
    return [Unavailable(need=need, code=code, message="it said so")]


def _measured(known: Catalogue, count: int, ratio: float) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(
            machine=machine_key(MACHINES[0]), runtime="ollama", model_id=one.id, repository=one.repositories[0].id,
            quant=one.repositories[0].builds[0].quant, weights_bytes=one.repositories[0].builds[0].bytes, context=4096,
            prompt_tokens=100, generated_tokens=64, runs=3, decode_tokens_per_second=40 * ratio, slowest=39 * ratio,
            fastest=41 * ratio, measured_at=NOW - timedelta(days=1),
        )
        for one in known.models[:count]
    )  # fmt: skip


THOROUGH = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@THOROUGH
@given(scenes(), SLOTS, st.sampled_from(TARGETS), st.data())
def test_what_is_made_when_looked_at_is_what_judging_everything_makes(
    scene: Scene, slot: Slot, where: Target, data: st.DataObject
) -> None:
    options, rejected = eager(scene, slot, where)
    found = consider(scene, slot, where)
    if options and data.draw(st.booleans()):  # whatever was looked at before
        index = data.draw(st.integers(0, len(options) - 1))
        assert found.options[index] == options[index]
    _compare(found.options, Options(options), data)
    assert found.options.models == {one.candidate.model.id for one in options}
    assert list(found.options) == options
    assert list(found.rejected) == rejected
    for one in rejected[:3]:
        first = next(other for other in rejected if _build_of(other) == _build_of(one))
        assert found.rejected.of_build(where, *_build_of(one)) == first


def _build_of(one: Rejected) -> tuple[str, str]:
    return one.candidate.repository.id, one.candidate.quant


def _compare(lazy: Options, brute: Options, data: st.DataObject) -> None:
    assert len(lazy) == len(brute)
    assert _in_order(lazy.there()) == _in_order(brute.there())
    sample = data.draw(st.lists(st.sampled_from(brute), max_size=3)) if brute else []
    places = {(one.target.name, one.name) for one in sample} | {("local", "nobody/knows")}
    assert _in_order(lazy.there(places)) == _in_order(brute.there(places))
    assert [(one.bytes, one.place) for one in lazy.smallest()] == [(one.bytes, one.place) for one in brute.smallest()]
    for one in sample:
        assert lazy.alike(one) == brute.alike(one)
    assert lazy.model_ids() == brute.model_ids()
    assert [one.candidate.key for one in lazy.best_of_models()] == [one.candidate.key for one in brute.best_of_models()]
    most = data.draw(st.integers(0, 60 * GB))
    worth = lambda _candidate, _place, size: size <= most  # noqa: E731
    assert list(lazy.best_first(worth)) == list(brute.best_first(worth))


def _in_order(options: Sequence[Option]) -> list[Option]:
    return sorted(options, key=lambda one: (one.target.name, order_key(one.assessment)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    scenes(),
    SLOTS,
    st.lists(st.sampled_from(TARGETS), min_size=2, max_size=3, unique_by=lambda one: one.name),
    st.data(),
)
def test_several_targets_are_one_after_the_other(
    scene: Scene, slot: Slot, wheres: list[Target], data: st.DataObject
) -> None:
    found = [consider(scene, slot, where) for where in wheres]
    brute = [eager(scene, slot, where) for where in wheres]
    joined = Joined([one.options for one in found])
    _compare(joined, Options([option for options, _ in brute for option in options]), data)
    assert list(joined) == [option for options, _ in brute for option in options]
    assert list(Rejections.joined([one.rejected for one in found])) == [no for _, noes in brute for no in noes]
