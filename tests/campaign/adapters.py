"""Stories of adapters, told to the real program that dies, or whose server or source does, and told again.

What the referee looks at: what the server serves and reads (``adapter_places``), the adapter store file by file, the
record. At every instant a client of an adapter that worked gets its old or its new content, a stranger's adapter, base
and files are as they were, what has a digest for a name has that content, and what we serve is ours by the record or
by a step that is open. In the end all is as in an undisturbed run, with nothing left over.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.lora.adapter_content import ContentFile, content_digest
from tests.campaign.adapter_places import KINDS, OURS, THEIRS, Place, Served, VllmPlace, content_of
from tests.campaign.lab import Ended, Forks, Lab, Trouble
from tests.e2e.rig import sha256_of

OLD, NEW, OTHER = 1, 2, 3
"""Contents of the adapter: before the story, after it, and what somebody saves in the middle."""
SOMEBODY = "another-document /somewhere"
"""Who holds files in our store that are not ours to remove."""


@dataclass
class Scene:
    """A machine, the server it works on, and the adapter's source."""

    lab: Lab
    place: Place
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    """Digest → its files by the name they are held under, of every content there ever was."""
    contents: dict[int, str] = field(default_factory=dict)
    """Seed → SHA-256 of the weights."""

    @property
    def source(self) -> Path:
        return self.lab.machine.repository / "adapters" / OURS

    def save(self, seed: int) -> Path:
        """The source has this content from now on."""
        weights = self.place.source(self.source, seed)
        self.contents[seed] = sha256_of(weights)
        self.know(weights)
        return weights

    def know(self, weights: Path) -> str:
        files = [weights] if weights.suffix == ".gguf" else sorted(weights.parent.iterdir())
        found = {path.name: sha256_of(path) for path in files}
        digest = content_digest(
            ContentFile(name=path.name, bytes=Bytes(path.stat().st_size), sha256=found[path.name]) for path in files
        )
        self.digests[digest] = {"adapter.gguf" if name.endswith(".gguf") else name: sha for name, sha in found.items()}
        return digest

    def file(
        self, base: str | None, *, declared: bool = True, scale: float = 1.0, source: dict[str, Any] | None = None
    ) -> None:
        """The file: a base, or none; the adapter on it, or not."""
        place, base_name = self.place, base or self.place.bases[0]
        served = {"target": place.of_file()["name"]} | ({"scale": scale} if place.scales else {})
        path = f"adapters/{OURS}" if isinstance(place, VllmPlace) else f"adapters/{OURS}.gguf"
        adapter = {
            "name": OURS, "base": place.declared(base_name), "source": source or {"path": path}, "serve": [served],
            "onBaseChange": "follow",
        }  # fmt: skip
        slots = place.slots(base_name) if base is not None else []
        self.lab.machine.write(*slots, targets=[place.of_file()], adapters=[adapter] if declared else [],
                               fuses={"allowEmpty": True})  # fmt: skip

    def settled(self) -> None:
        ended = self.lab.apply()
        assert ended.code == 0, ended.text

    # what is there

    @property
    def store(self) -> Path:
        return self.lab.machine.root / "data" / "adapters"

    def held(self) -> dict[str, dict[str, str]]:
        """What has a digest for a name, file by file."""
        if not self.store.exists():
            return {}
        found = {each.name: each / "files" for each in self.store.iterdir() if len(each.name) == 64}
        return {
            name: {path.name: sha256_of(path) for path in place.iterdir()} for name, place in found.items() if place.exists()
        }  # fmt: skip

    def leftovers(self) -> list[str]:
        """Drafts, partial downloads, empty folders of digests, tries on the server."""
        found = [path for name in (".new", ".partial") for path in (self.store / name).glob("*")]
        found += [each for each in self.store.glob("?" * 64) if not (each / "files").is_dir()]
        return [path.relative_to(self.store).as_posix() for path in found] + self.place.tries()

    def recorded(self) -> dict[str, tuple[str, str, float]]:
        record = self.lab.record()
        return {one.name: (one.base, one.digest, one.scale) for one in record.adapters} if record else {}

    def owned(self) -> set[str]:
        record = self.lab.record()
        return {one.name for one in record.entries} if record else set()


def _attach(scene: Scene) -> None:
    scene.file(scene.place.bases[0], declared=False)
    scene.settled()
    scene.save(NEW)
    scene.file(scene.place.bases[0])


def _attach_with_its_base(scene: Scene) -> None:
    scene.save(NEW)
    scene.file(scene.place.bases[0])


def _served(scene: Scene, seed: int = NEW) -> None:
    scene.save(seed)
    scene.file(scene.place.bases[0])
    scene.settled()


def _update(scene: Scene) -> None:
    _served(scene, OLD)
    scene.save(NEW)


def _rescale(scene: Scene) -> None:
    _served(scene)
    scene.file(scene.place.bases[0], scale=0.25)


def _detach(scene: Scene) -> None:
    _served(scene)
    scene.file(scene.place.bases[0], declared=False)


def _follow(scene: Scene) -> None:
    _served(scene)
    scene.file(scene.place.bases[1])


def _follow_changed(scene: Scene) -> None:
    """Base and content at once."""
    _served(scene, OLD)
    scene.save(NEW)
    scene.file(scene.place.bases[1])


def _go(scene: Scene) -> None:
    """The adapter, then its base."""
    _served(scene)
    scene.file(None, declared=False)


def _forgotten(scene: Scene) -> None:
    """A server that lost what it was given while it ran."""
    _served(scene)
    scene.place.restart()


def _fetch(scene: Scene) -> None:
    """Of a Hub, where another content has another tag."""
    place = scene.place
    assert isinstance(place, VllmPlace)
    for seed, tag in ((OLD, "v1"), (NEW, "v2")):
        place.pushed(scene.save(seed), tag)
    for tag in ("v1", "v2"):
        scene.file(place.bases[0], source={"hub": {"repo": "acme/sql", "revision": tag}})
        if tag == "v1":
            scene.settled()


@dataclass(frozen=True)
class Story:
    """A state of machine and server, and the file that asks for another one."""

    prepare: Callable[[Scene], None]
    stays: bool = False
    """The adapter was served before, and is to be afterwards."""
    needs: Callable[[type[Place]], bool] = lambda _: True
    """The kinds of places it can be told of."""


STORIES = {
    "attach": Story(_attach),
    "attach with its base": Story(_attach_with_its_base, needs=lambda place: len(place.bases) > 1),
    "update": Story(_update, stays=True),
    "rescale": Story(_rescale, stays=True, needs=lambda place: place.scales),
    "detach": Story(_detach),
    "follow": Story(_follow, stays=True, needs=lambda place: len(place.bases) > 1),
    "follow, changed": Story(_follow_changed, stays=True, needs=lambda place: len(place.bases) > 1),
    "adapter and base go": Story(_go, needs=lambda place: len(place.bases) > 1),
    "forgotten by a restart": Story(_forgotten, needs=lambda place: place.forgets),
    "fetched": Story(_fetch, stays=True, needs=lambda place: place.forgets),
}


def stories_of(kind: str) -> list[str]:
    return [name for name, story in STORIES.items() if story.needs(KINDS[kind])]


@dataclass(frozen=True)
class End:
    """Where an undisturbed run leads."""

    instants: int
    copies: tuple[int, ...]
    """Instants of these at which a block of the source is copied."""
    seconds: float
    served: dict[str, Served]
    models: dict[str, str]
    recorded: dict[str, tuple[str, str, float]]
    owned: set[str]
    held: dict[str, dict[str, str]]


class AdapterTrial:
    """One story in one place, told undisturbed once, and then with trouble as often as asked."""

    def __init__(self, folder: Path, forks: Forks, place: Place, name: str, *, plant: str | None = None) -> None:
        """``plant``: a defect that the program has from here on (``planted.py``)."""
        finely = {"finely": True, "roots": [str(each) for each in place.written]}
        self.lab = Lab(folder, forks, place.hub, place.variables(), **finely)
        self.place, self.story, self.name = place, STORIES[name], name
        self.scene = Scene(self.lab, place)
        place.put_theirs(folder / "elsewhere" / THEIRS)
        self.story.prepare(self.scene)
        self._hold_for_somebody()
        self._source = self._files_of_the_source()
        self._saved = self._saved_meanwhile(folder)
        self.lab.run("plan")  # what a Hub lists is known from here on
        self.lab.keep()
        place.keep()
        self.before = place.served()
        self.theirs = (self.before[THEIRS], place.models().get(self.before[THEIRS].base))
        begun = time.monotonic()
        ended = self.lab.apply()
        seconds = time.monotonic() - begun
        assert ended.code == 0, ended.text
        assert ended.instants
        assert self.scene.leftovers() == []
        self.end = End(
            ended.instants, ended.copies, seconds, place.served(), place.models(), self.scene.recorded(), self.scene.owned(),
            self.scene.held(),
        )  # fmt: skip
        self.check_kept(Trouble())
        self.lab.more["plant"] = plant

    def _hold_for_somebody(self) -> None:
        """Another document holds files in the same store."""
        weights = self.place.source(self.lab.machine.root / "other" / "other", 55)
        digest = self.scene.know(weights)
        folder = self.scene.store / digest
        (folder / "files").mkdir(parents=True)
        for path in [weights] if weights.suffix == ".gguf" else sorted(weights.parent.iterdir()):
            name = "adapter.gguf" if path.suffix == ".gguf" else path.name
            (folder / "files" / name).write_bytes(path.read_bytes())
        (folder / "holders").mkdir()
        mark = hashlib.sha256(SOMEBODY.encode()).hexdigest()[:32]
        (folder / "holders" / mark).write_text(SOMEBODY, encoding="utf-8")
        self._somebodys = digest

    def _files_of_the_source(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.scene.source.parent.rglob("*") if path.is_file()}

    def _saved_meanwhile(self, folder: Path) -> list[str]:
        """What somebody saves over the source in the middle: (from, to)."""
        kept = self._files_of_the_source()
        weights = self.scene.save(OTHER)
        fresh = folder / "saved-meanwhile"
        fresh.write_bytes(weights.read_bytes())
        for path, content in kept.items():
            path.write_bytes(content)
        return [str(fresh), str(weights)]

    # trouble

    def survive(self, *troubles: Trouble) -> list[Ended]:
        """Bring everything back, meet each trouble in turn, then run undisturbed: all is as it should be."""
        self.lab.bring_back()
        self.place.bring_back()
        ends = []
        for trouble in troubles:
            ends.append(self.meet(trouble))
            self.check_meanwhile(trouble, ends[-1])
        for path, content in self._source.items():
            path.write_bytes(content)
        self.go_on(troubles)
        self.lab.check_second_apply()
        assert self.place.served() == self.end.served
        return ends

    def meet(self, trouble: Trouble) -> Ended:
        self.lab.more["save"] = self._saved
        down = trouble.dies_after_seconds
        after = down if down is not None else trouble.restart_after_seconds
        if after is None:
            return self.lab.apply(trouble)
        timer = threading.Timer(after, self.place.kill if down is not None else self.place.restart)
        timer.start()
        ended = self.lab.apply(trouble)
        timer.join()
        if down is not None:
            self.place.start()
        return ended

    def go_on(self, troubles: tuple[Trouble, ...]) -> None:
        """Run undisturbed from however it was left: all is as it should be."""
        scene, place = self.scene, self.place
        last = self.lab.apply()
        assert last.code == 0, (troubles, last.text)
        assert place.served() == self.end.served, (
            troubles,
            "it is not served as it should be",
            place.served(),
            last.text,
        )
        assert place.models() == self.end.models, (troubles, last.text)
        assert scene.recorded() == self.end.recorded, (troubles, "the record is not right", scene.recorded(), last.text)
        assert scene.owned() == self.end.owned, (troubles, last.text)
        assert not (self.lab.record() or Record(name="")).intents, (troubles, "a step is open for ever")
        assert scene.held() == self.end.held, (troubles, "files are held that nothing needs, or not", last.text)
        assert scene.leftovers() == [], (troubles, "something is left over", scene.leftovers(), last.text)
        self.check_kept(troubles)
        for name in place.served():
            assert place.answers(name), (troubles, f"{name} does not answer", last.text)

    # what always holds

    def check_meanwhile(self, trouble: Trouble, ended: Ended) -> None:
        """What holds however the machine was left."""
        self.check_kept(trouble)
        served, record = self.place.served(), self.lab.record() or Record(name="")
        known = {one.name for one in record.adapters}
        known |= {one.adapter.name for one in record.intents if one.adapter is not None}
        assert set(served) - {THEIRS} <= known, (trouble, "it is served and nobody's", served, ended.text)
        now, was = served.get(OURS), self.before.get(OURS)
        allowed = {one.content for one in (was, self.end.served.get(OURS)) if one is not None}
        if content_of(Path(self._saved[1])) == self.scene.contents[OTHER]:
            allowed.add(self.scene.contents[OTHER])
        assert now is None or now.content in allowed, (trouble, "neither old nor new is served", now, ended.text)
        begun, ours = {one.name for one in record.intents}, self.scene.recorded().get(OURS)
        if now is not None and ours is not None and OURS not in begun:
            is_so = now.content in self.scene.digests[ours[1]].values()
            assert is_so, (trouble, "the record says what is not so", ours, now, ended.text)
        lost = self.place.forgets and (trouble.restart_after_seconds, trouble.dies_after_seconds) != (None, None)
        if self.story.stays and not lost and not self.place.gap:
            assert now is not None, (trouble, "what worked is gone", served, ended.text)

    def check_kept(self, trouble: object) -> None:
        """What a stranger has, and what has a digest for a name."""
        now = self.place.served().get(THEIRS)
        theirs = (now, self.place.models().get(now.base) if now else None)
        assert theirs == self.theirs, (trouble, "somebody else's adapter was touched", now)
        held = self.scene.held()
        for digest, files in held.items():
            assert files == self.scene.digests.get(digest), (trouble, "half files have their name", digest, files)
        assert self._somebodys in held, (trouble, "somebody else's files are gone")


def trouble_of(end: End, dice: random.Random) -> Trouble:
    """Killed at a boundary or anywhere, refused by the disk, the source saved over, the server restarted or gone."""
    import errno

    kind = dice.choice(["boundary"] * 4 + ["anywhere", "server", "gone", "disk", "source"])
    if kind == "anywhere":
        return Trouble(after_seconds=dice.uniform(0.02, end.seconds))
    if kind == "server":
        return Trouble(restart_after_seconds=dice.uniform(0.02, end.seconds))
    if kind == "gone":
        return Trouble(dies_after_seconds=dice.uniform(0.02, end.seconds))
    at = dice.choice([dice.randint(1, end.instants), *end.copies])
    if kind == "disk":
        return Trouble(at, dice.choice([errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS]), dice.random() < 0.5)
    return Trouble(at, "changed" if kind == "source" else dice.choice(["kill", "kill", "torn", "power", "filled"]))
