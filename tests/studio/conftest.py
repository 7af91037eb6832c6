"""LoRA files and a drawing that needs no model, for the tests of the studio."""

import time
from types import SimpleNamespace

import pytest
from PIL import Image

from lora_loom.pipelines.errors import CancelledError
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.records.record import GenerationRecord, save_png
from lora_loom.studio.session import Generation, Studio, _file_name


class QuickStudio(Studio):
    """A studio that draws flat pictures at once; `before_step` may wait or raise."""

    base_folder = None
    before_step = staticmethod(lambda index: None)

    def generate(self, request, on_step=None, cancelled=None, *, save=True, asked=None):
        self.check(request)
        steps = request.num_inference_steps
        for index in range(steps):
            self.before_step(index)
            if cancelled is not None and cancelled():
                raise CancelledError()
            if on_step is not None:
                on_step(SimpleNamespace(index=index, num_inference_steps=steps, seconds=0.0, latents=index / steps))
        made = []
        for index in range(request.num_images_per_prompt):
            image = Image.new("RGB", (32, 32), (request.seed % 256, 40 * index, 90))
            hashes = {choice.name: self.library.find(choice.name).sha256 for choice in request.adapters}
            record = GenerationRecord(request, adapter_sha256=hashes, seconds=0.1, image_index=index)
            path = self.output_dir / (_file_name(record, asked) if asked else f"{time.time_ns()}-{index}.png")
            made.append(Generation(image, record, save_png(image, record, path) if save else None))
        return made

    def preview(self, progress):
        return Image.new("RGB", (32, 32), (int(255 * progress.latents), 0, 0))


@pytest.fixture
def quick_studio(make_quick_studio, tmp_path):
    return make_quick_studio(tmp_path)


@pytest.fixture(scope="session")
def make_quick_studio(write_lora):
    """Makes a studio that needs no model, with the LoRAs owlet and crown, in a folder."""

    def make(folder):
        loras = folder / "loras"
        write_lora(loras / "owlet.safetensors", title="Owlet", category="character", triggers="owlet")
        write_lora(loras / "crown.safetensors", title="Crown", category="accessory", triggers="crown", strength=0.8)
        return QuickStudio("tiny", AdapterLibrary([loras]), folder / "outputs")

    return make


@pytest.fixture(scope="session")
def write_stranger(write_lora):
    """Writes a LoRA of which something fits, but of which most has the shapes of another base."""

    def write(path, **described):
        import torch
        from safetensors.torch import load_file, save_file

        write_lora(path, **described)
        key = "unet.mid_block.attentions.0.transformer_blocks.{}.attn1.to_q"
        stranger = {f"{key.format(k)}.lora_A.weight": torch.ones(2, 640) for k in range(9)}
        stranger |= {f"{key.format(k)}.lora_B.weight": torch.ones(640, 2) for k in range(9)}
        save_file(load_file(path) | stranger, path)
        return path

    return write
