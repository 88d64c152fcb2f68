"""An example as who said what: calls and results structured and paired, however the source writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.lora.call_text import CLOSE, OPEN, Call, bodies_of, read_block, results_of, without_blocks
from reconciler.lora.corpus import Example, Message


class Unconvertible(ValueError):
    """This example cannot be written in the wanted shape; ``code`` says why in a word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Said:
    """The system or the user says something."""

    role: Literal["system", "user"]
    text: str


@dataclass(frozen=True, slots=True)
class Calling:
    """A call with the id under which its result comes back."""

    id: str
    call: Call


@dataclass(frozen=True, slots=True)
class Answered:
    """The assistant says something, calls tools, or both."""

    text: str
    calls: tuple[Calling, ...]
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered to one call before it."""

    call_id: str
    name: str
    content: str


Turn = Said | Answered | Result


def conversation_of(example: Example, *, text_calls: bool) -> tuple[Turn, ...]:
    """The example's turns. Ids are ``call_<message>_<n>``, whatever the source calls them.

    A user's message of nothing but results answers the pending calls in their order; where it does not, it stays what
    the user said, and no later message can answer those calls.

    Args:
        example: of either shape.
        text_calls: calls written as ``name({ … })`` are read too; else they are refused, as the origin does.

    Raises:
        Unconvertible: a call that cannot be read, or a tool's message that answers no call.
    """
    return tuple(_turns(example, text_calls=text_calls))


def _turns(example: Example, *, text_calls: bool) -> Iterator[Turn]:
    pending: list[Calling] = []
    for message in example.messages:
        if message.role == "assistant":
            answered = _answered(message, example, text_calls=text_calls)
            if answered.calls:
                pending = list(answered.calls)
            yield answered
        elif message.role == "tool":
            yield _result(message, pending)
        elif message.role == "user" and (results := _text_results(message.content, pending)):
            del pending[: len(results)]
            yield from results
        else:
            if message.role == "user":
                pending = []
            yield Said("system" if message.role == "system" else "user", message.content)


def _answered(message: Message, example: Example, *, text_calls: bool) -> Answered:
    written = tuple(written_calls(message.content, text_calls=text_calls))
    if written and message.calls:
        raise Unconvertible("calls_twice", "a message holds structured calls and calls as text")
    # what a structured source says was never a carrier of calls: its blank lines are meant
    text = message.content if example.is_structured and not written else without_blocks(message.content)
    if OPEN in text or CLOSE in text:
        raise Unconvertible("call_not_closed", f"a call that is not closed: {OPEN} and {CLOSE} go in pairs")
    calls = (
        Calling(f"call_{message.index}_{number}", call) for number, call in enumerate(written or message.calls, start=1)
    )
    return Answered(text, tuple(calls), message.kept)


def written_calls(content: str, *, text_calls: bool) -> Iterator[Call]:
    """The calls that stand as text in a message.

    Raises:
        Unconvertible: one of them cannot be read, or is written as text where that is not taken.
    """
    for _, _, body in bodies_of(content):
        block = read_block(body)
        if block.problem is not None or not block.calls:
            raise Unconvertible("call_unreadable", f"a call cannot be read: {block.problem or 'it is empty'}")
        if block.kind == "text" and not text_calls:
            raise Unconvertible("call_not_json", "a call is not JSON, and this target takes JSON bodies only")
        yield from block.calls


def _text_results(content: str, pending: list[Calling]) -> tuple[Result, ...]:
    """The results of a message that holds nothing else, each of the next pending call; none on any mismatch."""
    blocks = results_of(content)
    if not blocks or len(blocks) > len(pending):
        return ()
    paired = list(zip(blocks, pending, strict=False))
    if any(block.name != calling.call.name for block, calling in paired):
        return ()
    return tuple(Result(calling.id, block.name, block.content) for block, calling in paired)


def _result(message: Message, pending: list[Calling]) -> Result:
    """The result of a tool's message, its call taken from those that wait.

    Raises:
        Unconvertible: it answers none of them.
    """
    for position, calling in enumerate(pending):
        if message.call_id is not None and calling.call.source_id is not None:
            answers = message.call_id == calling.call.source_id
        else:
            answers = message.name in (None, calling.call.name)
        if answers:
            del pending[position]
            return Result(calling.id, calling.call.name, message.content)
    named = f" ({message.call_id or message.name})" if message.call_id or message.name else ""
    raise Unconvertible("result_unpaired", f"a tool's message answers no call before it{named}")
