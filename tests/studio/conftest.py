"""LoRA files, a drawing that needs no model, and a tiny CLIP, for the tests of the studio."""

import time
from types import SimpleNamespace

import pytest
from PIL import Image

from pipelines.errors import CancelledError
from studio.library import AdapterLibrary
from studio.record import GenerationRecord, save_png
from studio.session import Generation, Studio


class QuickStudio(Studio):
    """A studio that draws flat pictures at once; `before_step` may wait or raise."""

    base_folder = None
    before_step = staticmethod(lambda index: None)

    def generate(self, request, on_step=None, cancelled=None, *, save=True):
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
            path = self.output_dir / f"{time.time_ns()}-{index}.png"
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
def clip_folder(tmp_path_factory):
    """A tiny random CLIP with a tokenizer of letters, in the folder layout of transformers."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<unk>": 3} | {chr(97 + i): 4 + i for i in range(26)}
    text = {"vocab_size": len(words), "max_position_embeddings": 12, "eos_token_id": 2, "pad_token_id": 0}
    config = CLIPConfig(
        text_config={**tower, **text}, vision_config={**tower, "image_size": 16, "patch_size": 8}, projection_dim=8
    )
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)
    return folder
