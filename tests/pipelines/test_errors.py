"""The error tree: what a person reads, what a machine reads, and survival of a process boundary."""

import inspect
import pickle
from pathlib import Path

from lora_loom.pipelines import errors
from lora_loom.pipelines.errors import AdapterFileError, CancelledError, LoomError, RequestError

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, LoomError)]


def test_text_joins_the_parts_into_sentences():
    error = LoomError("steps is out of range", expected="a number from 1", found="0", remedy="raise it")
    assert str(error) == "steps is out of range: expected a number from 1, found 0. Raise it."


def test_empty_parts_leave_no_trace(subtests):
    cases = [
        ({}, "no prompt."),
        ({"expected": "words"}, "no prompt: expected words."),
        ({"found": "''"}, "no prompt: found ''."),
        ({"remedy": "Write one!"}, "no prompt. Write one!"),
    ]
    for parts, text in cases:
        with subtests.test(parts=parts, text=text):
            assert str(LoomError("no prompt", **parts)) == text


def test_dict_names_the_kind_and_drops_empty_parts():
    data = RequestError("no prompt", found="''").to_dict()
    assert data == {"type": "RequestError", "what": "no prompt", "found": "''", "message": "no prompt: found ''."}


def test_every_kind_is_drawn_in_the_docstring(subtests):
    for kind in KINDS:
        with subtests.test(kind=kind):
            assert kind.__name__ in (errors.__doc__ or "") or kind.__name__.startswith("_")


def test_every_kind_survives_pickling(subtests):
    for kind in KINDS:
        with subtests.test(kind=kind):
            copy = pickle.loads(pickle.dumps(kind("a", expected="b", found="c", remedy="d")))
            assert type(copy) is kind
            assert str(copy) == "a: expected b, found c. D."


def test_the_path_is_kept_and_survives_pickling():
    error = AdapterFileError("bad", path="loras/x.safetensors")
    assert error.path == Path("loras/x.safetensors")
    assert pickle.loads(pickle.dumps(error)).path == error.path


def test_cancelling_needs_no_words():
    assert str(CancelledError()) == "cancelled on request."
