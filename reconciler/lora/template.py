"""Which chat template an adapter is trained through, what its data set must hold, and how to check that."""

from __future__ import annotations

from reconciler.domain.document import Frozen
from reconciler.lora.routes import Route
from reconciler.lora.tool_format import dataset_shape

TEXT_STOP = "</tool_call>"
FUNCTION_GEMMA_STOP = "<start_function_response>"


class Template(Frozen):
    """The ``template`` section of a plan."""

    name: str
    source: str
    supervised_target: str
    requirements: tuple[str, ...]
    stop_sequences: tuple[str, ...]
    notes: tuple[str, ...]


class DataRecipe(Frozen):
    """The ``data`` section of a plan."""

    dataset_format: str
    required_columns: tuple[str, ...]
    validation: tuple[str, ...]


_FUNCTION_GEMMA = Template(
    name="functiongemma_control_tokens",
    source="FunctionGemma's own template with its control tokens",
    supervised_target="the model's turn with its blocks of function calls",
    requirements=(
        "control tokens around declarations, calls and responses",
        f"{FUNCTION_GEMMA_STOP} ends a turn at inference",
        "strings escaped with the delimiter of the model",
    ),
    stop_sequences=(FUNCTION_GEMMA_STOP,),
    notes=(
        "a small model of text made for calls: rows with <tool_call> blocks do not belong in its data set",
        "single-turn and multi-turn cases are evaluated apart",
    ),
)
_GEMMA4 = Template(
    name="gemma4_native_function_calling",
    source="the native template of tokenizer or provider",
    supervised_target="assistant messages with native calls, and the results paired with them",
    requirements=(
        "messages and JSON schemas are rendered by the tokenizer",
        "training and inference use one shape",
        "no <tool_call> blocks of text",
    ),
    stop_sequences=(),
    notes=("a local runtime may still be steered to text or json: then that template is the one to train",),
)
_NATIVE = Template(
    name="native_messages_with_tools",
    source="the template of tokenizer or provider, with tool schemas",
    supervised_target="the assistant's calls and its final messages",
    requirements=(
        "a tools column of JSON schemas",
        "every tool message is paired with the call it answers",
        "the template was seen to render tools",
    ),
    stop_sequences=(),
    notes=("it moves between runtimes only where template and rendering of schemas are the same",),
)
_JSON = Template(
    name=dataset_shape("json").name,
    source="the parser of text calls, with JSON bodies",
    supervised_target="assistant_tool_text holding <tool_call>{name, arguments}</tool_call>",
    requirements=(
        "every example was parsed before training",
        "definitions stand in the tools column, and calls keep every byte",
        "no markdown fence and no native tag inside a block",
    ),
    stop_sequences=(TEXT_STOP,),
    notes=("what to train where a route is steered to calls as JSON text",),
)
_TEXT = Template(
    name=dataset_shape("text").name,
    source="the parser of text calls, as name({ … }) with heredocs",
    supervised_target="assistant_tool_text holding <tool_call>name({ … })</tool_call>",
    requirements=(
        "every example was parsed before training",
        "heredocs keep their boundaries",
        "a JSON body is refused unless its row is declared json",
    ),
    stop_sequences=(TEXT_STOP,),
    notes=("the shortest way from a corpus of text calls",),
)
_OTHER = Template(
    name="route_validated_tool_template",
    source="whatever the effective route uses",
    supervised_target="whatever the effective route uses",
    requirements=("the format is settled before anything is exported",),
    stop_sequences=(),
    notes=("training and inference keep one convention",),
)


def template_of(route: Route, tool_format: str) -> Template:
    """The template of a route at an effective tool format; FunctionGemma is asked for before Gemma 4."""
    if tool_format == "native":
        if route.is_function_gemma:
            return _FUNCTION_GEMMA
        return _GEMMA4 if route.is_gemma4 else _NATIVE
    return {"json": _JSON, "text": _TEXT}.get(tool_format, _OTHER)


def data_of(tool_format: str) -> DataRecipe:
    """What a data set of an effective tool format holds, and what to check of it."""
    shape = dataset_shape(tool_format)
    native = "assistant_tool_text" not in shape.columns
    checks = (
        (
            "a message holds structured calls or text calls, never both",
            "every tool message is paired with a call",
            "schemas are exactly those of inference",
        )
        if native
        else (
            "the parser of text calls reads every target",
            "names and arguments validate against the schemas",
            "no prose around calls",
        )
    )
    return DataRecipe(dataset_format=shape.name, required_columns=shape.columns, validation=checks)
