"""A pocket pipeline with a few LoRAs, for tests that draw."""

import pytest

from lora_loom.studio.pocket import adapters_path
from lora_loom.studio.pocket.world.scene import Scene
from lora_loom.studio.testbed.contestants import Bench
from lora_loom.studio.testbed.sets import LoraSet

MEMBERS = ("owlet", "crown", "city")


@pytest.fixture(scope="session")
def bench() -> Bench:
    from lora_loom.pipelines.families import FusionPipeline

    pipe = FusionPipeline.from_pretrained("pocket")
    pipe.set_progress_bar_config(disable=True)
    for name in MEMBERS:
        pipe.load_lora_weights(str(adapters_path() / f"{name}.safetensors"), adapter_name=name)
    return Bench(pipe)


@pytest.fixture(scope="session")
def asked() -> LoraSet:
    return LoraSet("test", MEMBERS, Scene("owlet", "blue", accessory="crown", background="city"))
