"""Where the labels of a chart go: beside their points, none over another, whatever the points are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

CHARACTER = 6.4
"""Width of a character in pixels, at 11 pixels of height: more than any common sans-serif font needs on average."""
HEIGHT = 14.0
_GAP = 9.0
_STEP_X, _STEP_Y = 24.0, 7.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left and other.right <= self.right and self.top <= other.top
            and other.bottom <= self.bottom
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Label:
    """A text with its place."""

    text: str
    box: Box
    x: float
    """Of the point that it names."""
    y: float

    @property
    def is_far(self) -> bool:
        """Not beside its point: a line must lead there."""
        nearest_x = min(max(self.x, self.box.left), self.box.right)
        nearest_y = min(max(self.y, self.box.top), self.box.bottom)
        return abs(nearest_x - self.x) + abs(nearest_y - self.y) > 2 * _GAP


def placed(
    wanted: Sequence[tuple[str, float, float]], others: Sequence[tuple[float, float]], room: Box
) -> tuple[Label, ...]:
    """The labels that find room, in the order given; each at the place nearest its point that covers nothing named.

    Args:
        wanted: text, x and y of each point to be named, the most important first.
        others: points without a name: better not covered, but it is no reason to go far.
        room: what no label may leave.
    """
    found: list[Label] = []
    taken = [_around(x, y) for _, x, y in wanted]
    for text, x, y in wanted:
        free = (box for box in _places(text, x, y, room) if room.holds(box) and not any(map(box.meets, taken)))
        best = min(enumerate(islice(free, 12)), key=lambda one: one[0] * 2 + _covered(one[1], others) * 9, default=None)
        if best is not None:
            found.append(Label(text, best[1], x, y))
            taken.append(best[1])
    return tuple(found)


def _around(x: float, y: float) -> Box:
    return Box(x - 5, y - 5, x + 5, y + 5)


def _covered(box: Box, others: Sequence[tuple[float, float]]) -> int:
    return sum(box.meets(Box(a - 3, b - 3, a + 3, b + 3)) for a, b in others)


def _distance(box: Box, x: float, y: float) -> float:
    """From the point; below it and left of it counts for more, because there the points are that a frontier beats."""
    off_x, off_y = (box.left + box.right) / 2 - x, (box.top + box.bottom) / 2 - y
    return abs(off_x) / (4 if off_x > 0 else 2) + abs(off_y) * (1 if off_y < 0 else 3)


def _places(text: str, x: float, y: float, room: Box) -> Iterable[Box]:
    """At the right above its line, on it, above, below, at the left; then the whole room, the nearest first."""
    width = len(text) * CHARACTER
    yield _box(x + 6, y - 6 - HEIGHT, width)
    yield _box(x + _GAP, y - HEIGHT / 2, width)
    yield _box(x - width / 2, y - _GAP - HEIGHT, width)
    yield _box(x + _GAP, y + 2, width)
    yield _box(x - 6 - width, y - 6 - HEIGHT, width)
    yield _box(x - _GAP - width, y - HEIGHT / 2, width)
    across = _steps(room.left, room.right - width, _STEP_X)
    down = _steps(room.top, room.bottom - HEIGHT, _STEP_Y)
    grid = [_box(left, top, width) for left in across for top in down]
    yield from sorted(grid, key=lambda box: round(_distance(box, x, y), 3))


def _steps(start: float, end: float, step: float) -> list[float]:
    return [start + step * index for index in range(int(max(0.0, end - start) // step) + 1)]


def _box(left: float, top: float, width: float) -> Box:
    return Box(left, top, left + width, top + HEIGHT)
