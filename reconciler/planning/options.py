"""What could fill a slot, best first: counted when candidates are judged, built when somebody looks at it.

``Options`` says what may be asked of options, and answers from a list of them. ``LazyOptions`` answers the same of all
candidates of a catalogue on one target, building the few that are looked at; a property shows the two to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, merge
from itertools import chain
from typing import overload

from reconciler.domain.desired import Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.units import Bytes
from reconciler.planning.option import Option, Rejected
from reconciler.planning.placing import name_on
from reconciler.planning.room import Place
from reconciler.ranking.numbers import ModelNumbers
from reconciler.ranking.order import OrderKey, order_key

Worth = Callable[[Candidate, Place, Bytes], bool]
"""Whether what is not installed yet is worth building: the candidate, its place and its size."""


def _always(_candidate: Candidate, _place: Place, _size: Bytes) -> bool:
    return True


def _key_of(option: Option) -> OrderKey:
    return order_key(option.assessment)


class Options(Sequence[Option]):
    """Options of a slot, in the order given."""

    def __init__(self, options: Iterable[Option] = ()) -> None:
        self._options = tuple(options)

    def __len__(self) -> int:
        return len(self._options)

    @overload
    def __getitem__(self, index: int) -> Option: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Option]: ...
    def __getitem__(self, index: int | slice) -> Option | Sequence[Option]:
        return self._options[index]

    def best_first(self, worth: Worth = _always) -> Iterator[Option]:
        """In the order of the ranking; what is not there yet only where it is ``worth`` it."""
        for option in sorted(self._options, key=_key_of):
            if is_there(option) or worth(option.candidate, option.place, option.bytes):
                yield option

    def there(self, places: Collection[Place] = ()) -> list[Option]:
        """What is installed or recorded, and what would stand at one of ``places``; best first on each target."""
        return [option for option in self._options if is_there(option) or option.place in places]

    def smallest(self) -> list[Option]:
        """Of each target the one that takes least, by its name among equals."""
        found: dict[str, Option] = {}
        for option in self._options:
            least = found.setdefault(option.target.name, option)
            if (option.bytes, option.name) < (least.bytes, least.name):
                found[option.target.name] = option
        return list(found.values())

    def alike(self, option: Option) -> list[Option]:
        """The same candidate on every target, itself among them."""
        return [one for one in self._options if one.candidate.key == option.candidate.key]

    def model_ids(self) -> list[str]:
        """Of every model that has an option, by the best of them."""
        return list(dict.fromkeys(option.candidate.model.id for option in self.best_first()))

    def best_of_models(self) -> Iterator[Option]:
        """The best option of each model, best first."""
        seen: set[str] = set()
        for option in self.best_first():
            if option.candidate.model.id not in seen:
                seen.add(option.candidate.model.id)
                yield option


def is_there(option: Option) -> bool:
    """Installed, whoever did it, or recorded as ours."""
    return option.installed is not None or option.entry is not None


class Joined(Options):
    """Options of several targets, one target after the other."""

    def __init__(self, parts: Sequence[Options]) -> None:
        super().__init__()
        self._parts = tuple(parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[Option]:
        return chain.from_iterable(self._parts)

    @overload
    def __getitem__(self, index: int) -> Option: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Option]: ...
    def __getitem__(self, index: int | slice) -> Option | Sequence[Option]:
        return tuple(self)[index]

    def best_first(self, worth: Worth = _always) -> Iterator[Option]:
        return merge(*(part.best_first(worth) for part in self._parts), key=_key_of)

    def there(self, places: Collection[Place] = ()) -> list[Option]:
        return [option for part in self._parts for option in part.there(places)]

    def smallest(self) -> list[Option]:
        return [option for part in self._parts for option in part.smallest()]

    def alike(self, option: Option) -> list[Option]:
        return [one for part in self._parts for one in part.alike(option)]


@dataclass(slots=True, eq=False)
class Eligible:
    """A candidate that may fill the slot, of which nothing stands on the target and nobody answered anything."""

    number: int
    """Among the candidates of the target."""
    candidate: Candidate
    ceiling: float
    """No less than its score as the order reads it."""
    numbers: ModelNumbers


_Placed = tuple[OrderKey, int, Eligible | Option]


class LazyOptions(Options):
    """All options of one target."""

    def __init__(
        self,
        target: Target,
        looked_at: Sequence[tuple[int, Option]],
        eligible: Mapping[str, Sequence[Eligible]],
        *,
        key: Callable[[Eligible], OrderKey],
        build: Callable[[Candidate], Option],
    ) -> None:
        """Everything that may fill the slot.

        Args:
            target: where.
            looked_at: those that something stands for or somebody answered about, with their numbers.
            eligible: the others, by the id of their model.
            key: where one comes in the order.
            build: the option of one.
        """
        super().__init__()
        self._target = target
        self._looked_at = looked_at
        self._eligible = eligible
        self._key = key
        self._build = build
        self._count = len(looked_at) + sum(len(ones) for ones in eligible.values())
        self._built: dict[int, Option] = {}
        self._placed: list[_Placed] = []
        """The first ones, in order."""
        self._waiting: list[_Placed] = [(_key_of(option), number, option) for number, option in looked_at]
        """A heap of those whose place is known, but not yet that nothing comes before them."""
        self._unplaced: list[Eligible] | None = None
        self._tails: dict[str, list[Eligible]] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Option]:
        return self.best_first()

    @overload
    def __getitem__(self, index: int) -> Option: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Option]: ...
    def __getitem__(self, index: int | slice) -> Option | Sequence[Option]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(self._count)))
        position = range(self._count)[index]
        while len(self._placed) <= position:
            self._place_one()
        return self._option(self._placed[position][2])

    def best_first(self, worth: Worth = _always) -> Iterator[Option]:
        for one in self._in_order():
            if isinstance(one, Option):
                if is_there(one) or worth(one.candidate, one.place, one.bytes):
                    yield one
            elif worth is _always or worth(one.candidate, self._place_of(one), one.candidate.bytes):
                yield self._option(one)

    def there(self, places: Collection[Place] = ()) -> list[Option]:
        looked_at = [option for _, option in self._looked_at if is_there(option) or option.place in places]
        return sorted([*looked_at, *self._standing_at(places)], key=_key_of)

    def smallest(self) -> list[Option]:
        ones = list(chain.from_iterable(self._eligible.values()))
        least = min((one.candidate.bytes for one in ones), default=None)
        named = [(name_on(self._target, one.candidate), one) for one in ones if one.candidate.bytes == least]
        first = min((name for name, _ in named), default="")
        found = [self._option(one) for name, one in named if name == first]
        found += [option for _, option in self._looked_at]
        return [min(found, key=lambda option: (option.bytes, option.name, _key_of(option)))] if found else []

    def alike(self, option: Option) -> list[Option]:
        key = option.candidate.key
        found = [one for _, one in self._looked_at if one.candidate.key == key]
        ones = self._eligible.get(option.candidate.model.id, ())
        found += [self._option(one) for one in ones if one.candidate.key == key]
        return sorted(found, key=_key_of) if len(found) > 1 else found

    def model_ids(self) -> list[str]:
        return list(dict.fromkeys(one.candidate.model.id for one in self._in_order()))

    def best_of_models(self) -> Iterator[Option]:
        seen: set[str] = set()
        for one in self._in_order():
            if one.candidate.model.id not in seen:
                seen.add(one.candidate.model.id)
                yield self._option(one)

    @property
    def models(self) -> frozenset[str]:
        """Ids of the models that have an option."""
        return frozenset(self._eligible) | {option.candidate.model.id for _, option in self._looked_at}

    def _in_order(self) -> Iterator[Eligible | Option]:
        position = 0
        while position < self._count:
            if position == len(self._placed):
                self._place_one()
            yield self._placed[position][2]
            position += 1

    def _place_one(self) -> None:
        """Put the next one in its place: the first of the heap, once nothing else can score as much."""
        waiting = self._waiting
        if self._unplaced is None:
            heapify(waiting)
            self._unplaced = sorted(chain.from_iterable(self._eligible.values()), key=lambda one: one.ceiling)
        unplaced = self._unplaced
        while unplaced and (not waiting or unplaced[-1].ceiling >= -waiting[0][0][1]):
            one = unplaced.pop()
            heappush(waiting, (self._key(one), one.number, one))
        self._placed.append(heappop(waiting))

    def _option(self, one: Eligible | Option) -> Option:
        if isinstance(one, Option):
            return one
        found = self._built.get(one.number)
        if found is None:
            found = self._built[one.number] = self._build(one.candidate)
        return found

    def _place_of(self, one: Eligible) -> Place:
        return self._target.name, name_on(self._target, one.candidate)

    def _standing_at(self, places: Collection[Place]) -> Iterator[Option]:
        """Those of which nothing stands yet, that would stand at one of the places."""
        text = "\n".join(name for target, name in places if target == self._target.name).casefold()
        if not text:
            return
        if self._tails is None:
            self._tails = {}
            for one in chain.from_iterable(self._eligible.values()):
                self._tails.setdefault(tail_of(one.candidate), []).append(one)
        for tail, ones in self._tails.items():
            if tail in text:
                yield from (self._option(one) for one in ones if self._place_of(one) in places)


def tail_of(candidate: Candidate) -> str:
    """What every name of the candidate contains, on any target, whatever its case."""
    return candidate.repository.id.rpartition("/")[2].partition(":")[0].casefold()


Refused = tuple[Target, Callable[[Target, Candidate], Rejected], Sequence[Candidate]]
"""What may not fill a slot on a target, and who tells why."""


class Rejections(Sequence[Rejected]):
    """Candidates that may not fill a slot; why is found out when somebody looks."""

    def __init__(self, refused: Sequence[Refused] = ()) -> None:
        self.refused = tuple(refused)

    @classmethod
    def joined(cls, parts: Iterable[Rejections]) -> Rejections:
        """Those of one slot on several targets, one target after the other."""
        return cls([one for part in parts for one in part.refused])

    def __len__(self) -> int:
        return sum(len(candidates) for _, _, candidates in self.refused)

    def __iter__(self) -> Iterator[Rejected]:
        for target, why, candidates in self.refused:
            for candidate in candidates:
                yield why(target, candidate)

    @overload
    def __getitem__(self, index: int) -> Rejected: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Rejected]: ...
    def __getitem__(self, index: int | slice) -> Rejected | Sequence[Rejected]:
        return tuple(self)[index]

    def of_build(self, target: Target, repo: str | None, quant: str | None) -> Rejected | None:
        """The first of a build on a target."""
        for where, why, candidates in self.refused:
            for candidate in candidates if where == target else ():
                if candidate.repository.id == repo and candidate.quant == quant:
                    return why(where, candidate)
        return None
