"""The doctor's benchmark on a small U-Net: every layer is examined."""

from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.studio.bench.methods.doctor import examined
from lora_loom.studio.bench.subjects import TINY


def test_every_layer_is_examined():
    seconds, layers = examined(TINY, rank=2)
    assert layers == len(BaseTarget.from_modules({"denoiser": TINY.build("meta")}).components["denoiser"])
    assert seconds > 0.0
