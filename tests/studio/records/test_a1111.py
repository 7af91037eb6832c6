"""The `parameters` text, read back the way A1111 reads it."""

import json
import re

from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.pipelines.schedulers import DIFFUSION
from lora_loom.studio.records.a1111 import parameters

# The pattern of A1111's generation_parameters_copypaste.py, re_param.
PAIR = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def written(**changes):
    request = GenerationRequest(**{"prompt": "a fox", "scheduler": "ddim", **changes})
    hashes = {choice.name: f"{k:064x}"[::-1] for k, choice in enumerate(request.adapters)}
    return parameters(request, hashes, seed=7, width=64, height=48, version="0.1.0")


def pairs(text):
    found = dict(PAIR.findall(re.sub(r", Hashes: \{.*\}", "", text.splitlines()[-1])))
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found.items()}


def test_settings_are_read_back():
    assert pairs(written()) == {
        "Steps": "20",
        "Sampler": "DDIM",
        "CFG scale": "3",
        "Seed": "7",
        "Size": "64x48",
        "Model": "pocket",
        "LoRA fusion": "merge",
        "Version": "Loom 0.1.0",
    }


def test_prompts_come_first():
    lines = written(negative_prompt="blur").splitlines()
    assert lines[:2] == ["a fox", "Negative prompt: blur"]
    assert len(written().splitlines()) == 2


def test_names_and_hashes_of_loras():
    text = written(adapters=(AdapterChoice("styles/ink wash"), AdapterChoice("狐", 0.5)))
    assert text.splitlines()[0] == "a fox <lora:styles_ink_wash:1> <lora:lora_1000000000:0.5>"
    assert pairs(text)["Lora hashes"] == "styles_ink_wash: 0000000000, lora_1000000000: 1000000000"
    hashes = re.search(r"Hashes: (\{.*?\})", text)
    assert json.loads(hashes[1]) == {"lora:styles_ink_wash": "0000000000", "lora:lora_1000000000": "1000000000"}


def test_loras_that_had_no_part_are_left_out():
    text = written(adapters=(AdapterChoice("ink", 0),))
    assert "ink" not in text
    assert "hashes" not in text


def test_samplers_have_the_names_that_other_programs_know():
    names = {name: pairs(written(scheduler=name))["Sampler"] for name in DIFFUSION}
    assert names["euler a"] == "Euler a"
    assert not [name for name, written_as in names.items() if written_as == name]


def test_values_with_separators_are_quoted():
    assert pairs(written(base_model='a, b: "c"'))["Model"] == 'a, b: "c"'
