"""Bytes that are almost right: what a person, a broken disk or an unfriendly server would hand us."""

from __future__ import annotations

import json
import random
from typing import Any

TOKENS = (
    b"\x00", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 8, b"null", b"NaN", b"-1", b"1e999", b"9" * 400, b"[" * 3000,
    b"{" * 3000, b'"', b"\\ud800", b"\n", b"\r\n\t", b"\xef\xbb\xbf", b"&a *a", b"!!python/object:os.system ", b": ", b"- ",
    b"../../etc/passwd", b"$(reboot)", b"\xf0\x9f\xa6\x99", b"<<: *x\n", b"%00",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, -(2**63), 10**400, 1e308, float("inf"), float("nan"), "", " ", "\u0000", "\ud800", "x" * 5000,
    "../../../etc/passwd", "file:///etc/passwd", "2026-99-99T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59",
    [], {}, [[]], [None], {"": None}, "sha256:zz", "120GB", "-5GB", "1e9999GB",
)  # fmt: skip


def mutated(seed: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """One to four changes of a valid input."""
    changed = seed
    for _ in range(dice.randint(1, 4)):
        tree = _parsed(changed) if dice.random() < 0.7 else None
        changed = (
            _as_json(_tree_change(tree, dice)) if isinstance(tree, list | dict) else _byte_change(changed, dice, others)
        )
    return changed[: 2 * 2**20]


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _as_json(tree: Any) -> bytes:
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a tree."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting and len(found) < 5000:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys if isinstance(node[key], list | dict)]
    return found


def _tree_change(tree: Any, dice: random.Random) -> Any:
    places = _places(tree)
    if not places:
        return dice.choice(VALUES)
    node, key = dice.choice(places)
    match dice.randrange(6):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node[key:key] = [node[key]] * dice.choice([1, 50])
        case 2 if isinstance(node, dict):
            node[dice.choice(["", "x", "__class__", str(key).upper()])] = node.pop(key)
        case 3:
            other, there = dice.choice(places)
            node[key] = json.loads(json.dumps(other[there]))
        case 4:
            node[key] = str(node[key])[:1000]
        case _:
            node[key] = dice.choice(VALUES)
    return tree


def _byte_change(content: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    at = dice.randint(0, len(content))
    end = min(len(content), at + dice.choice([1, 1, 4, 64, 4096]))
    match dice.randrange(7):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + dice.randbytes(end - at) + content[end:]
        case 2:
            return content[:at] + content[end:]
        case 3:
            return content[:at] + content[at:end] * dice.choice([2, 20]) + content[end:]
        case 4:
            return content[:at] + dice.choice(others)[dice.randint(0, 200) :][:4096] + content[end:]
        case 5 if content:
            at = min(at, len(content) - 1)
            return content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :]
        case _:
            return content[:at] + dice.choice(TOKENS) + content[end if dice.random() < 0.5 else at :]
