"""Tiny random pipelines of every family with their real block structure, and random LoRAs that fit them."""

from __future__ import annotations

import contextlib
import logging
import warnings

import pytest
import torch

from lora_loom.pipelines.families import families
from tests.pipelines.tiny_pipelines import MAKERS, tiny

FAMILIES = tuple(MAKERS)
QUICK = ("sd15", "flux")  # a U-Net and a transformer; the others are marked `long`
# A U-Net, packed tokens with embedded guidance, and halves of guidance that are asked for apart.
UNLIKE = ("sd15", "flux", pytest.param("zimage", marks=pytest.mark.long))
TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


@pytest.fixture(scope="session")
def new_pipe(_quick_search_for_offloading):
    """Makes the random pipeline of a family: equal weights at every call."""
    return tiny


@pytest.fixture(scope="session")
def pipes(new_pipe):
    """One pipeline per family for the whole session: a test must leave it as it was."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = new_pipe(family)
        return made[family]

    return get


@pytest.fixture(scope="session")
def draw():
    """Runs a pipeline for three steps from a seed: latents of a 64 x 64 picture, unless told otherwise."""

    def run(pipe, seed=0, **call):
        defaults = {"prompt": "a red cat", "num_inference_steps": 3, "output_type": "latent"}
        defaults["generator"] = torch.Generator().manual_seed(seed)
        if "image" not in call:
            defaults |= {"height": 64, "width": 64}
        if hasattr(pipe, "transformer"):
            defaults["max_sequence_length"] = 16
        return pipe(**(defaults | call)).images

    return run


@pytest.fixture(scope="session")
def lora_tensors():
    """Makes a random LoRA of a pipeline in the PEFT layout, large enough to change the picture plainly.

    Layers are those whose path holds one of `parts`; the CLIP text encoders get their q and v unless `text` is off.
    """

    def make(pipe, seed, rank=4, parts=("attn",), text=True, size=0.3):
        generator = torch.Generator().manual_seed(seed)
        tensors = {}

        def add(prefix, model, parts):
            for path, module in model.named_modules():
                conv = isinstance(module, torch.nn.Conv2d) and module.groups == 1
                if any(part in path for part in parts) and (conv or isinstance(module, torch.nn.Linear)):
                    out, into = module.weight.shape[0], module.weight.shape[1:]
                    down = torch.randn(rank, *into, generator=generator) / into.numel() ** 0.5
                    up = torch.randn(out, rank, generator=generator) * size / rank**0.5
                    tensors[f"{prefix}.{path}.lora_A.weight"] = down
                    tensors[f"{prefix}.{path}.lora_B.weight"] = up[:, :, None, None] if conv else up

        denoiser = "unet" if hasattr(pipe, "unet") else "transformer"
        add(denoiser, getattr(pipe, denoiser), parts)
        for name in TEXT_ENCODERS if text else ():
            encoder = getattr(pipe, name, None)
            if encoder is not None and "CLIP" in type(encoder).__name__:
                add(name, encoder, ("q_proj", "v_proj"))
        return tensors

    return make


THREE = {  # of different ranks and layer sets; the third acts on convolutions, embeddings and norms, without text
    "fox": {"seed": 1, "rank": 4, "parts": ("attn", ".attention.")},
    "ink": {"seed": 2, "rank": 6, "parts": (".to_q", ".to_v", "ff.net", "proj_out")},
    "fog": {
        "seed": 3,
        "rank": 3,
        "parts": ("resnets.0.conv", "conv_in", "time_emb", "embedder", "norm1.linear"),
        "text": False,
    },
}


@pytest.fixture(scope="session")
def three_loras(pipes, lora_tensors):
    """The tensors of three different LoRAs of a family: fox, ink and fog."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = {name: lora_tensors(pipes(family), **how) for name, how in THREE.items()}
        return made[family]

    return get


@pytest.fixture(scope="session")
def three_adapters(pipes, three_loras):
    """The same three, loaded as adapters."""
    from lora_loom.pipelines.adapters.load import load_adapter
    from lora_loom.pipelines.adapters.target import BaseTarget

    made = {}

    def get(family):
        if family not in made:
            target = BaseTarget.from_pipeline(pipes(family))
            loras = three_loras(family)
            made[family] = {name: load_adapter(loras[name], name=name, target=target) for name in loras}
        return made[family]

    return get


@pytest.fixture(scope="session")
def peft_pipes(new_pipe, three_loras):
    """Plain diffusers pipelines of the same weights with the same three LoRAs loaded by diffusers and PEFT."""
    made = {}

    def get(family, adapters):
        if family not in made:
            made[family] = pipe = new_pipe(family)
            with _quietly():
                for name, tensors in three_loras(family).items():
                    pipe.load_lora_weights(dict(tensors), adapter_name=name)
        made[family].set_adapters(list(adapters), list(adapters.values()))
        return made[family]

    return get


@contextlib.contextmanager
def _quietly():
    """diffusers and transformers report adapters' parameters as missing from the base's."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in FAMILIES])
def family(request):
    return request.param


@pytest.fixture
def calls(family):
    """How often a step calls the denoiser: twice where the halves of guidance are asked for apart."""
    guidance = families()[family].guidance
    return 2 if (guidance.kind, guidance.halves) == ("classifier-free", "calls") else 1


@pytest.fixture
def per_call(calls):
    """Counts of passes over the calls that a step makes."""
    return lambda passes: {kind: count / calls for kind, count in passes.items()}


@pytest.fixture
def pipe(pipes, family):
    return pipes(family)


@pytest.fixture
def adapters(three_adapters, family):
    return three_adapters(family)


def _part(site, name, h):
    its = site.slices[site.names.index(name)]
    return site.layer.product(h[:, its] if site.kind == "conv" else h[..., its], site.up[its])


@pytest.fixture(scope="session")
def part_of():
    """A function (site, name, h) -> y_k = B_k h_k of one adapter, in the shape of the layer's output."""
    return _part


def relative_error(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="session")
def error_of():
    """Largest difference over largest value: 1e-5 is a few hundred roundings of float32."""
    return relative_error
