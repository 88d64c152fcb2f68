"""Arguments of a call written as text: object literals with bare keys, three kinds of quotes, and heredocs.

    edit({ path: "a.py", content: <<EOF
    print("hello")
    EOF
    })

Read strictly: what is taught must be what the text parser at inference takes, so nothing is guessed or repaired.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

DEEPEST = 64
"""Levels of nesting; nobody writes more, and each is a level of recursion here."""
NAME = r"[A-Za-z_][A-Za-z0-9_]*"

_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_HEREDOC = re.compile(r"<<[ \t]*['\"]?([A-Za-z_][A-Za-z0-9_]{0,63})['\"]?[ \t]*\r?\n")
_PLAIN = re.compile(r"""[^"'`\\]+""")
_WORDS = {"true": True, "false": False, "null": None, "undefined": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "v": "\v", "\n": ""}
_HEX = {"x": re.compile(r"([0-9A-Fa-f]{2})"), "u": re.compile(r"([0-9A-Fa-f]{4})|\{([0-9A-Fa-f]{1,6})\}")}
_MOST_DIGITS = 300


class TextValueReader:
    """Reads values from a position of a text on; ``position`` is behind what was read last."""

    def __init__(self, text: str, position: int = 0) -> None:
        self._text = text
        self.position = position

    def value(self, depth: int = 0) -> Any:
        """The value that starts here.

        Raises:
            ValueError: it is no value, or does not end; the message says what and where.
        """
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} levels")
        self.skip_blanks()
        start = self._text[self.position : self.position + 1]
        if start == "{":
            return self._object(depth)
        if start == "[":
            return self._list(depth)
        if start and start in "\"'`":
            return self._quoted(start)
        if start == "<":
            return self._heredoc()
        return self._word_or_number()

    def skip_blanks(self) -> None:
        while self._text[self.position : self.position + 1] in (" ", "\t", "\n", "\r"):
            self.position += 1

    def taken(self, sign: str) -> bool:
        """Whether ``sign`` is next, blanks left out; then it is passed."""
        self.skip_blanks()
        if not self._text.startswith(sign, self.position):
            return False
        self.position += len(sign)
        return True

    def expect(self, sign: str) -> None:
        """Pass ``sign``.

        Raises:
            ValueError: something else is here.
        """
        if not self.taken(sign):
            found = self._text[self.position : self.position + 12] or "the end"
            raise ValueError(f"expected {sign!r} but found {found!r}")

    def _object(self, depth: int) -> dict[str, Any]:
        self.expect("{")
        found: dict[str, Any] = {}
        while not self.taken("}"):
            key = self._key()
            self.expect(":")
            found[key] = self.value(depth + 1)
            if not self.taken(","):
                self.expect("}")
                break
        return found

    def _list(self, depth: int) -> list[Any]:
        self.expect("[")
        found: list[Any] = []
        while not self.taken("]"):
            found.append(self.value(depth + 1))
            if not self.taken(","):
                self.expect("]")
                break
        return found

    def _key(self) -> str:
        self.skip_blanks()
        start = self._text[self.position : self.position + 1]
        if start and start in "\"'":
            return self._quoted(start)
        match = _KEY.match(self._text, self.position)
        if match is None:
            raise ValueError(f"expected a key but found {start or 'the end'!r}")
        self.position = match.end()
        return match[0]

    def _quoted(self, quote: str) -> str:
        self.position += 1
        parts: list[str] = []
        while True:
            if plain := _PLAIN.match(self._text, self.position):
                parts.append(plain[0])
                self.position = plain.end()
            sign = self._text[self.position : self.position + 1]
            self.position += 1
            if not sign:
                raise ValueError("a text in quotes does not end")
            if sign == quote:
                return "".join(parts)
            parts.append(self._escaped() if sign == "\\" else sign)

    def _escaped(self) -> str:
        sign = self._text[self.position : self.position + 1]
        self.position += 1
        if sign not in _HEX:
            return _ESCAPES.get(sign, sign)
        match = _HEX[sign].match(self._text, self.position)
        code = int(match[match.lastindex or 1], 16) if match else -1
        if match is None or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError(f"\\{sign} is not followed by the number of a character")
        self.position = match.end()
        return chr(code)

    def _heredoc(self) -> str:
        """Everything up to the line that begins with the tag, as it stands."""
        opening = _HEREDOC.match(self._text, self.position)
        if opening is None:
            raise ValueError("a heredoc needs a tag and a line of its own: <<EOF")
        closing = re.compile(rf"^[ \t]*{opening[1]}\b", re.MULTILINE | re.ASCII).search(self._text, opening.end())
        if closing is None:
            raise ValueError(f"the heredoc <<{opening[1]} does not end")
        self.position = closing.end()
        return self._text[opening.end() : closing.start()].removesuffix("\n").removesuffix("\r")

    def _word_or_number(self) -> Any:
        if number := _NUMBER.match(self._text, self.position):
            self.position = number.end()
            return _number(number[0], whole=number[1] is None and number[2] is None)
        word = _KEY.match(self._text, self.position)
        if word is None or word[0] not in _WORDS:
            found = word[0] if word else self._text[self.position : self.position + 1] or "the end"
            raise ValueError(f"expected a value but found {found[:40]!r}")
        self.position = word.end()
        return _WORDS[word[0]]


def _number(text: str, *, whole: bool) -> int | float:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    found = int(text) if whole else float(text)
    if not isfinite(found):
        raise ValueError(f"{text} is too large for a number")
    return found
