"""The words and numbers a desired state file may hold, each with the one sentence that says what is allowed.

Every shape is one regular expression, checked here and written into the JSON Schema, so that both refuse the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from reconciler.domain.units import MOST_TOKENS

END = r"$(?!\n)"
"""The end of the text: Python's ``$`` alone also stands before a last line break, ECMA's does not."""

PORT = r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
HOST = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
SIZE = r" *[0-9]{1,12}(\.[0-9]{1,6})? *([kKmMgGtT][iI]?)?[bB] *"


@dataclass(frozen=True, slots=True)
class Shape:
    """Text of one form: matched against ``pattern``, and ``allowed`` says in words what that is."""

    pattern: str
    allowed: str

    def check(self, value: str) -> str:
        if re.search(self.pattern, value) is None:
            raise PydanticCustomError("shape", "{allowed}", {"allowed": self.allowed})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "pattern": self.pattern}


NAME_WORDS = "a name of letters, digits and . _ -, starting with a letter or digit, 63 at most"

Name = Annotated[str, Shape(rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}{END}", NAME_WORDS)]
AliasName = Annotated[
    str,
    Shape(
        rf"^(?!.*\.[gG][gG][uU][fF]$)[A-Za-z0-9]([A-Za-z0-9._-]{{0,62}}[A-Za-z0-9_-])?{END}",
        "a name of letters, digits and . _ -, 64 at most, starting with one of the first two, not ending in . or .gguf",
    ),
]
Organisation = Annotated[
    str,
    Shape(
        rf"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?{END}", "the name of one organisation on the Hub, such as Qwen"
    ),
]
Line = Annotated[
    str, Shape(rf"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?{END}", "one line of text, not empty")
]
Word = Annotated[str, Shape(rf"^[^\x00-\x20\x7f*]+{END}", "one exact name, without blanks and without *")]
Glob = Annotated[str, Shape(rf"^[^\x00-\x20\x7f]+{END}", 'a model name, or a pattern with *, such as "my-*"')]
Quant = Annotated[str, Shape(rf"^[A-Za-z0-9][A-Za-z0-9._-]*{END}", "the name of a quant, such as Q4_K_M")]
SIZE_WORDS = "a number and a unit, such as 120GB (10⁹ bytes) or 120GiB (2³⁰ bytes)"
Size = Annotated[str, Shape(rf"^{SIZE}{END}", SIZE_WORDS)]
PositiveSize = Annotated[str, Shape(rf"^(?=.*[1-9]){SIZE}{END}", f"more than 0: {SIZE_WORDS}")]
Duration = Annotated[
    str, Shape(rf"^([0-9]{{1,9}}(\.[0-9]{{1,6}})?(ms|s|m|h|d|w))+{END}", "a number and a unit, such as 24h, 10m or 30s")
]
URL = Shape(
    rf"^https?://{HOST}{PORT}(/[^\s?#@]*)?{END}", "a URL with scheme, host and port, such as http://127.0.0.1:11434"
)
Url = Annotated[str, URL]
RegistryHost = Annotated[
    str, Shape(rf"^{HOST}{PORT}{END}", "a host with its port and no scheme, such as registry.local:5000")
]
Variable = Annotated[
    str,
    Shape(
        rf"^(?!hf_[A-Za-z0-9]{{6}})[A-Za-z_][A-Za-z0-9_]*{END}",
        "the name of an environment variable, such as HF_TOKEN",
    ),
]
RepositoryName = Annotated[
    str,
    Shape(
        rf"^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?/[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?{END}",
        "organisation/name, as on the Hub",
    ),
]
PinnedRevision = Annotated[
    str,
    Shape(
        rf"^(?!(main|master|HEAD)$)[A-Za-z0-9][A-Za-z0-9._/+-]*{END}",
        "a commit or a tag; a branch such as main moves, so that nobody could tell what is served",
    ),
]
Digest = Annotated[str, Shape(rf"^[0-9a-f]{{64}}{END}", "64 hex digits in small letters, as sha256sum prints them")]
Path = Annotated[str, Shape(rf"^[^\x00-\x1f\x7f]+{END}", "a path, on one line")]


def integral(value: object) -> object:
    """A whole number written with a point (``5.0``) is that number: JSON Schema knows no difference."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL = BeforeValidator(integral)


class _Tokens:
    """A whole number of tokens, or ``max``; one validator, so that a wrong value is one problem and not two."""

    def check(self, value: object) -> object:
        value = integral(value)
        number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_TOKENS
        if number or (isinstance(value, str) and value == "max"):
            return value
        raise PydanticCustomError("tokens", f"a whole number of tokens from 1 to {MOST_TOKENS}, or max")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_TOKENS}, {"const": "max"}]}


Tokens = Annotated[int | Literal["max"], _Tokens()]
Count = Annotated[int, Field(ge=0, le=10**15), INTEGRAL]
Gibibytes = Annotated[float, Field(gt=0, le=10**9)]

T = TypeVar("T")


def given(value: object) -> object:
    """A key without a value says nothing: it is refused, so that ``slots:`` is never taken for ``slots: []``."""
    if value is None:
        raise PydanticCustomError("no_value", "a value; leave the key out to have the default")
    return value


class _NoNull:
    """Keeps ``null`` out of the schema of a key that may be left out."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler(schema)
        choices = [choice for choice in made.get("anyOf", []) if choice != {"type": "null"}]
        return choices[0] if len(choices) == 1 else {**made, "anyOf": choices} if choices else made


Given = Annotated[T | None, BeforeValidator(given), _NoNull()]
"""A key that may be left out, and may not be empty."""
