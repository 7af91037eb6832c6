"""Hooks act before a picture is drawn and before it is saved, and the record tells what they made of it."""

from dataclasses import replace

import pytest
from PIL import ImageOps

from lora_loom.pipelines.errors import OutputError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.hooks import StudioHooks
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.records.record import read_record
from lora_loom.studio.session import Studio


@pytest.fixture
def studio(tiny_pocket, tmp_path, write_lora):
    for name in ("owlet", "crown"):
        write_lora(tmp_path / "loras" / f"{name}.safetensors")
    return Studio(str(tiny_pocket), AdapterLibrary([tmp_path / "loras"]), tmp_path / "out", device="cpu")


def asked(studio, **changes):
    return GenerationRequest("an owlet", base_model=studio.base_model, num_inference_steps=2, **changes)


def test_without_hooks_nothing_changes(studio):
    request = asked(studio)
    assert StudioHooks().request(request) is request
    (made,) = studio.generate(request, save=False)
    assert made.record.request == request


def test_a_hook_proposes_what_is_drawn_and_recorded(studio):
    def suggest(request):
        return replace(request, adapters=(AdapterChoice("owlet"),))

    studio.hooks = StudioHooks(before_drawing=[suggest])
    (made,) = studio.generate(asked(studio))
    assert [choice.name for choice in read_record(made.path).request.adapters] == ["owlet"]
    assert made.record.adapter_sha256.keys() == {"owlet"}


def test_nothing_is_proposed_for_a_picture_that_is_made_again(studio):
    (made,) = studio.generate(asked(studio), save=False)
    studio.hooks = StudioHooks(before_drawing=[lambda request: replace(request, adapters=(AdapterChoice("owlet"),))])
    (again,) = studio.reproduce(made.record, save=False)
    assert again.image.tobytes() == made.image.tobytes()


def test_hooks_run_in_their_order_on_the_picture_that_is_saved(studio):
    seen = []

    def invert(image, record):
        seen.append("invert")
        return ImageOps.invert(image), record

    def sign(image, record):
        seen.append("sign")
        return image, replace(record, device=f"{record.device}, signed")

    (plain,) = studio.generate(asked(studio), save=False)
    studio.hooks = StudioHooks(before_saving=[invert, sign])
    (made,) = studio.generate(asked(studio))
    assert seen == ["invert", "sign"]
    assert made.image.tobytes() == ImageOps.invert(plain.image).tobytes()
    assert read_record(made.path).device == "cpu, signed"
    (batched,) = studio.generate_batch([asked(studio)])
    assert batched.record.device == "cpu, signed"


def test_an_error_of_a_hook_leaves_no_picture(studio):
    def refuse(image, record):
        raise OutputError("the mark does not hold")

    studio.hooks = StudioHooks(before_saving=[refuse])
    with pytest.raises(OutputError, match="does not hold"):
        studio.generate(asked(studio))
    assert not list(studio.output_dir.glob("*.png"))
