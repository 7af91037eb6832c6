"""The verbs of diffusers on the pipelines of Loom, beside plain ones.

`docs/diffusers.md` is the table of the cases: `LOOM_WRITE_DOCS=1 pytest tests/pipelines/test_diffusers_verbs.py`.
"""

import functools
import inspect
import os
from pathlib import Path

import diffusers
import pytest
import torch

from lora_loom.pipelines.errors import LoomError, LoomWarning
from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused
from tests.pipelines.diffusers_verbs import CASES, Desk, Refused, Same, Told, nine_channels
from tests.pipelines.tiny_pipelines import tiny

DOCUMENT = Path(__file__).parents[2] / "docs" / "diffusers.md"
HEAD = """# diffusers' verbs

What a diffusers user calls first, and what it does on a pipeline of Loom. "The same" is checked against plain diffusers
with PEFT on small random models of SD1.5, SDXL and FLUX, to 1e-5 of the largest value. This table is made by
`tests/pipelines/test_diffusers_verbs.py`, which checks every row.

| call | on a pipeline of Loom |
|---|---|
"""
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(params=("sd15", "sdxl", "flux"))
def family(request):
    return request.param


@pytest.fixture
def loom(family, pipes, three_loras, draw, tmp_path):
    made = FusionPipeline.from_pipe(pipes(family))
    made.set_progress_bar_config(disable=True)
    return Desk(made, three_loras(family), functools.partial(draw, num_inference_steps=1), tmp_path)


@pytest.fixture
def plain(family, three_loras, draw, tmp_path):
    return Desk(tiny(family), three_loras(family), functools.partial(draw, num_inference_steps=1), tmp_path)


def alike(found, expected, error_of):
    if isinstance(found, torch.Tensor):
        return torch.equal(found, expected) or error_of(found, expected) <= 1e-5
    if isinstance(found, tuple | list) and not isinstance(found, str):
        return len(found) == len(expected) and all(alike(a, b, error_of) for a, b in zip(found, expected, strict=True))
    return found == expected


def cleared(desk):
    """The plain pipeline without LoRAs, as new ones are dear."""
    desk.pipe.unload_lora_weights()
    return desk


@pytest.mark.long
def test_what_is_the_same_is_the_same(loom, plain, error_of, subtests):
    for case in CASES:
        if isinstance(case, Same):
            with subtests.test(call=case.call):
                found, expected = case.run(cleared(loom)), case.run(cleared(plain))
                assert alike(found, expected, error_of)


def test_what_is_refused_says_what_to_call_instead(loom, subtests):
    for case in CASES:
        if isinstance(case, Refused):
            with subtests.test(call=case.call), pytest.raises(LoomError, match=case.words):
                case.run(cleared(loom))


def test_what_draws_without_the_loras_says_so(loom, subtests):
    for case in CASES:
        if isinstance(case, Told):
            with subtests.test(call=case.call), pytest.warns(LoomWarning, match=case.words):
                case.run(cleared(loom))


def test_other_pipelines_of_the_models_draw_in_fused(loom, draw):
    with pytest.warns(LoomWarning):
        other = diffusers.AutoPipelineForImage2Image.from_pipe(loom.both().pipe)
    other.set_progress_bar_config(disable=True)
    call = {"image": torch.rand(1, 3, 64, 64), "strength": 0.8}
    if loom.denoiser == "transformer":
        call |= {"height": 64, "width": 64}
    base = draw(other, **call)
    with fused(other, loom.pipe.plan(), loom.pipe.adapters, loom.pipe.bank):
        assert not torch.equal(draw(other, **call), base)


def test_a_base_of_nine_channels_paints_in_fused(pipes, three_adapters, draw):
    pipe = tiny("sd15")
    parts = {**pipe.components, "unet": nine_channels(pipe.unet)}
    made = diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    picture, mask = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    base = draw(made, image=picture, mask_image=mask, height=64, width=64)
    plan = create("composite").plan([AdapterChoice("fox"), AdapterChoice("ink")], 3)
    with fused(made, plan, three_adapters("sd15")) as run:
        found = draw(made, image=picture, mask_image=mask, height=64, width=64)
    assert run.passes == {"full": 6}
    assert not torch.equal(found, base)


def test_encoding_has_the_signature_of_diffusers(loom):
    theirs = inspect.signature(loom.pipe.diffusers_class.encode_prompt)
    assert inspect.signature(type(loom.pipe).encode_prompt) == theirs


def test_the_document_is_the_table_of_the_cases():
    lines = []
    for case in CASES:
        if isinstance(case, Same):
            said = f"the same{f'; {case.note}' if case.note else ''}"
        elif isinstance(case, Refused):
            said = f"refused; instead: {case.instead}"
        else:
            said = case.note
        lines.append(f"| {case.call} | {said} |")
    text = HEAD + "\n".join(lines) + "\n"
    if os.environ.get("LOOM_WRITE_DOCS"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text
