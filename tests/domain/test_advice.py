import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.advice import command_for, ollama_default_context, quoted
from reconciler.domain.units import GIB


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("lms", "lms get org/repo"),
        ("vllm", "vllm serve org/repo"),
        ("llama-server", "llama-server -hf org/repo"),
    ],
)
def test_each_program_has_its_command(program, command):
    assert command_for(program, "org/repo") == command


def test_quant_and_context_are_passed_where_the_program_takes_them():
    assert command_for("lms", "o/r", "Q4_K_M", 8192) == "lms get 'o/r@Q4_K_M'"
    assert command_for("vllm", "o/r", "Q4_K_M", 8192) == "vllm serve o/r --max-model-len 8192"
    assert command_for("llama-server", "o/r", "Q4_K_M", 8192) == "llama-server -hf o/r:Q4_K_M -c 8192"


def test_names_for_clients_are_passed_where_the_program_takes_them():
    names = ("coder", "chat")
    assert command_for("llama-server", "o/r", aliases=names).endswith(" --alias 'coder,chat'")
    assert command_for("vllm", "o/r", aliases=names) == "vllm serve o/r --served-model-name coder chat"
    assert command_for("lms", "o/r", aliases=names) == "lms get o/r"


def test_a_cache_type_and_conversations_are_passed_where_the_program_takes_them():
    served = command_for("llama-server", "o/r", "Q4_K_M", 8192, kv_cache="q8_0", parallel=4)
    assert served == "llama-server -hf o/r:Q4_K_M -c 32768 -np 4 -ctk q8_0 -ctv q8_0", "it divides -c among them"
    assert command_for("vllm", "o/r", None, 8192, kv_cache="q8_0", parallel=4) == (
        "vllm serve o/r --max-model-len 8192 --max-num-seqs 4"
    )


def test_a_local_file_is_served_by_path():
    assert command_for("llama-server", "/models/my model.gguf", "Q8_0") == "llama-server -m '/models/my model.gguf'"


def test_words_a_shell_would_split_are_quoted():
    assert quoted("foo bar") == "'foo bar'"
    assert quoted("it's") == "'it'\\''s'"
    assert quoted("") == "''"


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_a_shell_reads_back_the_very_word(word):
    assert shlex.split(quoted(word)) == [word]


@given(st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1))
def test_no_repository_name_can_add_a_word(repo):
    assert len(shlex.split(command_for("vllm", repo))) == 3


def test_ollamas_own_context_goes_by_the_memory_of_all_devices():
    assert ollama_default_context(0) == 4096
    assert ollama_default_context(24 * GIB) == 32_768
    assert ollama_default_context(2 * 24 * GIB) == 262_144
