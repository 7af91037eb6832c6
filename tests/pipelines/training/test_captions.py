"""Captions: templates, trigger words, the table of rows, and that cached states are what the pipeline would use."""

import pytest
import torch
from PIL import Image

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.training.captions import (
    cache_captions,
    caption_book,
    check_trigger,
    overlong,
    without_word,
    write_captions,
)
from lora_loom.pipelines.training.items import TrainingItem
from lora_loom.pipelines.training.samples import prior_captions
from lora_loom.pipelines.training.settings import LoraTraining


def items(*captions):
    return [TrainingItem(Image.new("RGB", (4, 4)), entry, str(index)) for index, entry in enumerate(captions)]


def test_every_caption_is_written_in_every_template():
    written = write_captions(["a cat", "a dog"], ["{caption}", "a photo of {caption}"], "")
    assert written == ("a cat", "a dog", "a photo of a cat", "a photo of a dog")


def test_the_trigger_word_is_put_where_it_is_missing(subtests):
    cases = [
        ("a cat", "{caption}", "sks a cat"),
        ("a sks cat", "{caption}", "a sks cat"),
        ("a sksy cat", "{caption}", "sks a sksy cat"),
        ("a cat", "{caption} in {trigger} style", "a cat in sks style"),
        ("", "{caption}", "sks"),
    ]
    for caption, template, expected in cases:
        with subtests.test(caption=caption, template=template, expected=expected):
            assert write_captions([caption], [template], "sks") == (expected,)


def test_a_trigger_is_taken_out_as_a_word_only():
    assert without_word("a bow on a rainbow, bow", "bow") == "a on a rainbow,"
    assert without_word("a <t01> creature", "<t01>") == "a creature"


def test_a_bad_template_is_refused(subtests):
    for template in ["no place", "{caption} {other}", "{caption", "{}"]:
        with subtests.test(template=template), pytest.raises(SettingError, match="template"):
            write_captions(["a cat"], [template], "")


def test_the_book_holds_each_text_once_and_the_empty_one_first():
    book = caption_book(items(("a",), ("b", "a"), ("a",)), LoraTraining(), prior=["b", "c"])
    assert book.texts == ("", "a", "b", "c")
    assert book.rows_by_item == ((1,), (2, 1), (1,), (2,), (3,))


def test_a_trigger_outside_a_fixed_vocabulary_is_refused(pipe):
    check_trigger(pipe, "<t01>")
    check_trigger(pipe, "")
    with pytest.raises(SettingError, match=r"'zorb' is not in the vocabulary"):
        check_trigger(pipe, "zorb")


def test_captions_longer_than_the_base_reads_are_counted(pipe):
    assert overlong(pipe, ["a red square", "a red a red a red", "a red a red a red a"]) == 1  # 8 with <bos> and <eos>


def test_cached_states_are_those_the_pipeline_encodes(pipe):
    texts = ["", *(f"a {colour} square" for colour in ("red", "green", "blue"))] * 10
    states = cache_captions(pipe, texts)
    for row in (0, 1, 39):
        with torch.no_grad():
            expected = pipe.encode_prompt(texts[row], "cpu", 1, False)[0]
        torch.testing.assert_close(states.rows(torch.tensor([row])).tokens, expected, atol=1e-6, rtol=1e-6)


def test_xl_states_have_a_pooled_part(xl_pipe):
    states = cache_captions(xl_pipe, ["", "a red square"])
    assert states.tokens.shape == (2, 8, 32)
    assert states.pooled.shape == (2, 16)


def test_prior_captions_are_those_of_the_pictures_without_the_trigger():
    settings = LoraTraining(trigger="<t00>", prior_images=5)
    captions = ["a <t00> creature", "<t00> in red", "a creature"]
    assert prior_captions(settings, captions) == ("a creature", "in red", "a creature", "in red", "a creature")
    assert prior_captions(LoraTraining(prior_prompt="a cat", prior_images=2), captions) == ("a cat", "a cat")
