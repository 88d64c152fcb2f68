"""A machine whose commands die: the real command line, a store on a real disk, our own mirror as its Hub."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.domain.record import Record
from reconciler.servers.mirror import serve
from tests.doubles.ollama_model import tiny_gguf
from tests.e2e.rig import CHECKOUT, Machine, Tap, sha256_of, tiny_name, tiny_slot

SIZE = 400_000
DIED = {137, -9}
"""By its own hand, and by another's."""
NAMES = ("alpha", "beta", "gamma")
MANY = "many"
"""A model in two shards with a projector."""
FOREIGN = "somebody/theirs-GGUF/theirs-Q8_0.gguf"
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 64, 130, 143}


class Forks:
    """The process that forks one command after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )

    def run(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


@dataclass(frozen=True)
class Ended:
    """A command that ended, or was ended."""

    code: int
    instants: int | None
    out: str
    err: str
    copies: tuple[int, ...] = ()
    """Instants at which a block of a file was copied."""

    @property
    def text(self) -> str:
        return f"exit {self.code}\n{self.out[-2000:]}\n{self.err[-2000:]}"


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in a command, and at which of its file operations."""

    at: int = 0
    how: str | int = "kill"
    for_good: bool = False
    after_seconds: float | None = None
    """Killed from outside so long after it began, instead."""
    restart_after_seconds: float | None = None
    """And the server it works on goes down and comes back in the middle."""
    dies_after_seconds: float | None = None
    """And it goes down, and comes back only once the command has ended."""

    @property
    def is_a_fault(self) -> bool:
        """Something else goes wrong than that the program dies."""
        server = (self.restart_after_seconds, self.dies_after_seconds) != (None, None)
        return server or isinstance(self.how, int) or self.how in ("filled", "changed")

    def __str__(self) -> str:
        if self.restart_after_seconds is not None:
            return f"server restarted after {self.restart_after_seconds:.3f} s"
        if self.dies_after_seconds is not None:
            return f"server gone after {self.dies_after_seconds:.3f} s"
        if self.after_seconds is not None:
            return f"killed after {self.after_seconds:.3f} s"
        what = os.strerror(self.how) if isinstance(self.how, int) else self.how
        return f"{what}{' for good' if self.for_good else ''} at operation {self.at}"


class Lab:
    """One machine, brought back to the same state as often as needed."""

    def __init__(
        self, root: Path, forks: Forks, hub: str, variables: dict[str, str] | None = None, **more: Any
    ) -> None:
        """``more`` goes into every wish (see ``child.py``)."""
        self.forks, self.more = forks, more
        self.machine = Machine(root / "here", hub)
        self._variables = variables or {}
        self._kept = root / "kept"
        self._out = root / "output"
        self._full = root / "full"

    def run(self, *words: str, trouble: Trouble | None = None) -> Ended:
        wish: dict[str, Any] = {
            "arguments": words,
            "folder": str(self.machine.repository),
            "environment": self.machine.environment(**self._variables),
            "out": str(self._out),
            "root": str(self.machine.root),
            **self.more,
        }
        if trouble is not None:
            at = trouble.at or None
            wish |= {"at": at, "how": trouble.how, "for_good": trouble.for_good, "after": trouble.after_seconds}
            wish["full"] = str(self._full)
        answer = self.forks.run(wish)
        out, err = (self._out.with_name(self._out.name + end).read_text() for end in (".out", ".err"))
        ended = Ended(answer["code"], answer["instants"], out, err, tuple(answer["copies"]))
        assert "Traceback" not in err, ended.text
        assert ended.code in DOCUMENTED or (ended.code in DIED and trouble is not None), ended.text
        return ended

    def apply(self, trouble: Trouble | None = None) -> Ended:
        return self.run("apply", "--yes", "--allow-evictions", "9", trouble=trouble)

    def apply_until_the_disk_is_full(self, since: Callable[[], object]) -> Ended:
        """Another program takes all that is free on the disk once ``since`` is true, and gives it back afterwards."""
        over = threading.Event()

        def other() -> None:
            while not since() and not over.is_set():
                over.wait(0.01)
            self._full.touch()

        running = threading.Thread(target=other)
        running.start()
        try:
            return self.apply(Trouble(how="filled"))
        finally:
            over.set()
            running.join()
            self._full.unlink()

    def keep(self) -> None:
        """Remember the machine as it is now."""
        shutil.copytree(self.machine.root, self._kept, symlinks=True)

    def bring_back(self) -> None:
        shutil.rmtree(self.machine.root)
        shutil.copytree(self._kept, self.machine.root, symlinks=True)

    # what it looks like

    @property
    def stores(self) -> list[Path]:
        return [self.machine.root / name for name in ("models", "other")]

    def models(self) -> dict[str, str]:
        """Every model file of every store → its SHA-256."""
        return {
            f"{root.name}/{path.relative_to(root).as_posix()}": sha256_of(path)
            for root in self.stores
            for path in sorted(root.rglob("*.gguf"))
            if not path.is_symlink()
        }

    def sizes(self) -> dict[str, int]:
        """The same by their bytes."""
        return {f"{root.name}/{path.relative_to(root).as_posix()}": path.stat().st_size
                for root in self.stores for path in root.rglob("*.gguf") if not path.is_symlink()}  # fmt: skip

    def names(self) -> dict[str, str]:
        """Stable names that are ours → what each leads to; one that leads nowhere is a defect."""
        found = {}
        for root in self.stores:
            for link in (path for path in root.rglob("*") if path.is_symlink()):
                assert link.exists(), f"the stable name {link.name} leads nowhere"
                found[link.relative_to(root).as_posix()] = link.resolve().relative_to(root.resolve()).as_posix()
        record = self.record()
        assert len(found) == len(record.aliases if record else ()), (found, "not all stable names are ours")
        return found

    def leftovers(self) -> list[str]:
        """What an unfinished step leaves: partial downloads and their notes, temporary files."""
        folders = [root / ".localmodels" for root in self.stores]
        found = [path for folder in folders for path in folder.rglob("*") if path.parent.name == "partial"]
        found += [path for folder in folders for path in folder.rglob("*.new")]
        found += list((self.machine.root / "state").rglob("record.json.tmp-*"))
        return sorted(path.relative_to(self.machine.root).as_posix() for path in found)

    def held_bytes(self) -> int:
        """What the stores take on disk, unfinished downloads included."""
        files = [path for root in self.stores for path in root.rglob("*") if not path.is_symlink()]
        return sum(path.stat().st_blocks * 512 for path in files if path.suffix in (".gguf", ".partial"))

    def state(self) -> dict[str, bytes]:
        """What is remembered, file by file."""
        folder = self.machine.root / "state" / "lab"
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and "lock" not in path.name}

    def check_second_apply(self) -> None:
        before, ended = self.state(), self.apply()
        assert ended.code == 0, ended.text
        assert self.state() == before, "a second apply wrote something"

    def record(self) -> Record | None:
        path = self.machine.root / "state" / "lab" / "record.json"
        return Record.model_validate_json(path.read_bytes()) if path.exists() else None

    def owned(self) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        record = self.record()
        if record is None:
            return {}
        return {
            f"{Path(one.target_key.partition('|')[2]).name}/{one.name}": (one.digest, one.slots)
            for one in record.entries
        }


@dataclass(frozen=True)
class Story:
    """A state of the machine, and the file that asks for another one."""

    prepare: Callable[[Lab], None]
    stands: frozenset[str] = frozenset()
    """At least one of these is there, whole, at every instant."""
    budget: str = "1GB"


def _file(lab: Lab, *names: str, **pool: Any) -> None:
    lab.machine.write(*(tiny_slot(name) for name in names), pool=pool)


def _applied(lab: Lab, *names: str, **pool: Any) -> None:
    _file(lab, *names, **pool)
    assert lab.apply().code == 0


def _install(lab: Lab) -> None:
    _file(lab, "alpha", "beta")


def _slow(lab: Lab) -> None:
    """A download that takes a while, so that the world can change under it."""
    lab.machine.write(tiny_slot("alpha"), limits={"downloadRate": f"{SIZE // 2}B"})


def _evict(lab: Lab) -> None:
    _applied(lab, "alpha", "beta")
    _file(lab, "beta")


def _swap(lab: Lab) -> None:
    _applied(lab, "alpha", diskBudget="900KB")
    slot = {**tiny_slot("beta"), "name": "alpha"}
    lab.machine.write(slot, pool={"diskBudget": "900KB"})


def _gap(lab: Lab) -> None:
    _applied(lab, "alpha", diskBudget="500KB", allowGap=True)
    slot = {**tiny_slot("beta"), "name": "alpha"}
    lab.machine.write(slot, pool={"diskBudget": "500KB", "allowGap": True})


def _drift(lab: Lab) -> None:
    _applied(lab, "alpha", "beta")
    (lab.machine.store / tiny_name("alpha")).write_bytes(tiny_gguf(SIZE, seed=99))


def _two_stores(lab: Lab) -> None:
    targets = [{"name": name, "runtime": "store", "path": str(lab.machine.root / name)} for name in ("models", "other")]
    lab.machine.write(
        {**tiny_slot("alpha"), "target": "models"}, {**tiny_slot("beta"), "target": "other"}, targets=targets
    )


def _many_files(lab: Lab) -> None:
    """One model in shards with a projector beside it takes the place of one file."""
    room = {"diskBudget": "2MB"}
    _applied(lab, "alpha", **room)
    lab.machine.write({**tiny_slot(MANY), "name": "alpha"}, pool=room)


def _named(lab: Lab) -> None:
    """The same under a stable name, which moves once the new one is there."""
    room = {"diskBudget": "900KB"}
    lab.machine.write({**tiny_slot("alpha"), "alias": "house"}, pool=room)
    assert lab.apply().code == 0
    lab.machine.write({**tiny_slot("beta"), "name": "alpha", "alias": "house"}, pool=room)


STORIES = {
    "shards and a projector": Story(_many_files, budget="2MB"),
    "swap under a name": Story(_named, frozenset({"alpha", "beta"}), "900KB"),
    "install": Story(_install),
    "slow": Story(_slow),
    "evict": Story(_evict, frozenset({"beta"})),
    "swap": Story(_swap, frozenset({"alpha", "beta"}), "900KB"),
    "gap": Story(_gap, budget="500KB"),
    "drift": Story(_drift, frozenset({"beta"})),
    "two stores": Story(_two_stores),
}


@dataclass(frozen=True)
class End:
    """Where an undisturbed run leads."""

    instants: int
    models: dict[str, str]
    owned: dict[str, tuple[str | None, tuple[str, ...]]]
    sizes: dict[str, int]
    names: dict[str, str]
    fetched: int
    """Bytes that the Hub sent in all."""
    asking: int
    """Of these, what was not content."""


class Trial:
    """One story, told undisturbed once, and then with trouble as often as asked."""

    def __init__(self, lab: Lab, name: str, tap: Tap) -> None:
        self.lab, self.story, self.tap = lab, STORIES[name], tap
        self.story.prepare(lab)
        theirs = lab.machine.store / FOREIGN
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(tiny_gguf(50_000, seed=77))
        self._theirs = sha256_of(theirs)
        lab.run("plan")  # what the Hub lists is known from here on
        lab.keep()
        before, had = self.tap.bytes, lab.models()
        ended = lab.apply()
        assert ended.code == 0, ended.text
        assert ended.instants
        models, fetched = lab.models(), self.tap.bytes - before
        sizes = lab.sizes()
        content = sum(sizes[name] for name, found in models.items() if had.get(name) != found)
        self.end = End(ended.instants, models, lab.owned(), sizes, lab.names(), fetched, fetched - content)
        assert not lab.leftovers()

    def survive(self, *troubles: Trouble, lose_record: bool = False) -> list[Ended]:
        """Bring the machine back, let it meet each trouble in turn, then run undisturbed: all is as it should be.

        Args:
            troubles: one for each run.
            lose_record: the record is damaged after them, and made again by ``rebuild``.
        """
        lab = self.lab
        lab.bring_back()
        before, ends = self.tap.bytes, []
        for trouble in troubles:
            ends.append(lab.apply(trouble))
            self.check_meanwhile(trouble)
        if lose_record:
            self.rebuild()
        self.go_on(troubles)
        assert self.tap.bytes - before <= self.end.fetched * (len(troubles) + 1) + 50_000, (troubles, "fetched again")
        lab.check_second_apply()
        return ends

    def go_on(self, troubles: tuple[Trouble, ...] = ()) -> None:
        """Run undisturbed from however it was left: all is as it should be, and what is whole is not fetched again."""
        lab, stands = self.lab, self.lab.models()
        missing = sum(self.end.sizes[name] for name, found in self.end.models.items() if stands.get(name) != found)
        at = self.tap.bytes
        last = lab.apply()
        assert last.code == 0, (troubles, last.text)
        assert lab.models() == self.end.models, (troubles, last.text)
        assert lab.owned() == self.end.owned, troubles
        assert lab.names() == self.end.names, (troubles, lab.names(), last.text)
        assert not (lab.record() or Record(name="")).intents, troubles
        assert lab.leftovers() == [], (troubles, lab.leftovers(), last.text)
        assert self.tap.bytes - at <= missing + self.end.asking + 50_000, (troubles, "fetched again")

    def rebuild(self) -> None:
        """What was ours and stands is ours again, and nothing else is. The journal may know one step more."""
        lab, path = self.lab, self.lab.machine.root / "state" / "lab" / "record.json"
        before = lab.record()
        if before is None:
            return
        path.write_bytes(path.read_bytes()[:-30])
        ended = lab.run("rebuild", "--yes")
        after = lab.record()
        assert ended.code == 0, ended.text
        assert after is not None
        models, ours = lab.models(), {one.name for one in after.entries}
        begun = {one.name for one in before.intents}
        for one in before.entries:
            path = f"{Path(one.target_key.partition('|')[2]).name}/{one.name}"
            stands = models.get(path) in (one.digest or "").split("+")
            assert one.name in ours or not stands, (f"{one.name} stands as recorded and is nobody's", ended.text)
        assert ours <= {one.name for one in before.entries} | begun, ("somebody else's became ours", ended.text)

    def check_meanwhile(self, trouble: Trouble) -> None:
        """What holds however the machine was left."""
        lab, models = self.lab, self.lab.models()
        assert models.get(f"models/{FOREIGN}") == self._theirs, (trouble, "somebody else's model was touched")
        lab.record()
        stands = {f"models/{tiny_name(name)}" for name in self.story.stands}
        assert not stands or any(models.get(name) == HUB_SHA[name.partition("/")[2]] for name in stands), trouble
        assert lab.held_bytes() <= _bytes(self.story.budget) + 100_000, trouble


HUB_SHA = {tiny_name(name): hashlib.sha256(tiny_gguf(SIZE, seed=seed)).hexdigest() for seed, name in enumerate(NAMES)}


def _bytes(text: str) -> int:
    number, unit = int(text[:-2]), text[-2:]
    return number * {"KB": 10**3, "MB": 10**6, "GB": 10**9}[unit]


@contextmanager
def tapped_hub(root: Path) -> Iterator[Tap]:
    """A Hub with the small models, and a count of what it sends."""
    for seed, name in enumerate(NAMES):
        path = root / tiny_name(name)
        path.parent.mkdir(parents=True)
        path.write_bytes(tiny_gguf(SIZE, seed=seed))
    folder = (root / tiny_name(MANY)).parent
    folder.mkdir(parents=True)
    for seed, name in enumerate(
        (f"{MANY}-Q8_0-00001-of-00002.gguf", f"{MANY}-Q8_0-00002-of-00002.gguf", "mmproj-F16.gguf")
    ):
        (folder / name).write_bytes(tiny_gguf(SIZE, seed=20 + seed))
    with serve(root) as mirror, Tap(mirror.url) as tap:
        yield tap


def kinds_of_trouble(instants: int, dice: random.Random) -> Trouble:
    """Any of them, at any operation."""
    import errno

    how = dice.choice(["kill", "torn", "power", "filled", errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
    return Trouble(dice.randint(1, instants), how, for_good=dice.random() < 0.5)
