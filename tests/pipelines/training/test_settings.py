"""Settings are checked when they are made, and the learning rate is a closed form of the step."""

import dataclasses
import json
import math

import pytest

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.training.settings import LoraTraining, learning_rate_factor


def test_every_setting_has_a_help_text():
    assert all(item.metadata["help"] for item in dataclasses.fields(LoraTraining))


def test_numbers_have_limits():
    for item in dataclasses.fields(LoraTraining):
        if item.type in ("int", "float"):
            assert item.metadata["min"] < item.metadata["max"], item.name


def test_a_bad_value_is_refused_by_name(subtests):
    cases = [
        ("rank", 0),
        ("rank", 4096),
        ("alpha", float("nan")),
        ("alpha", -1.0),
        ("targets", "everything"),
        ("learning_rate", "fast"),
        ("steps", True),
        ("steps", 2.5),
        ("caption_dropout", 1.5),
        ("templates", "{caption}"),
        ("templates", ()),
        ("templates", 3),
        ("gradient_checkpointing", 1),
        ("resolution", 4),
        ("seed", -1),
    ]
    for name, value in cases:
        with subtests.test(name=name, value=value), pytest.raises(SettingError, match=name):
            LoraTraining(**{name: value})


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(SettingError, match="warm-up"):
        LoraTraining(steps=10, warmup_steps=11)


def test_alpha_defaults_to_the_rank():
    assert LoraTraining(rank=16).lora_alpha == 16.0
    assert LoraTraining(rank=16, alpha=1).lora_alpha == 1.0


def test_a_whole_number_is_taken_where_a_number_is_wanted():
    assert LoraTraining(learning_rate=1).learning_rate == 1.0


def test_settings_survive_json():
    settings = LoraTraining(templates=("a {caption}",), sample_prompts=("one", "two"))
    assert LoraTraining(**json.loads(json.dumps(settings.to_dict()))) == settings


def test_warm_up_is_linear_and_reaches_one_at_its_last_step():
    settings = LoraTraining(steps=10, warmup_steps=4)
    assert [learning_rate_factor(settings, step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_cosine_starts_at_one_and_is_half_in_the_middle():
    settings = LoraTraining(steps=14, warmup_steps=4, schedule="cosine")
    assert learning_rate_factor(settings, 4) == 1.0
    assert learning_rate_factor(settings, 9) == pytest.approx(0.5)
    assert learning_rate_factor(settings, 13) == pytest.approx(0.5 * (1 + math.cos(0.9 * math.pi)))
