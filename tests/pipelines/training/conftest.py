"""A tiny Stable Diffusion pipeline with random weights, in the shape of the pocket base, and pictures to train on."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast

from lora_loom.pipelines.training.settings import LoraTraining

WORDS = ("a", "red", "green", "blue", "square", "picture", "of", "in", "the", "style", "<t00>", "<t01>", "creature")
SIZE = 16  # pixels; latents are half of it


def tokenizer():
    words = ("<pad>", "<bos>", "<eos>", "<unk>", *WORDS)
    inner = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=8,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )


def text_encoder(kind=CLIPTextModel):
    config = CLIPTextConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        projection_dim=16,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return kind(config).eval()


def unet(**extra):
    return UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        norm_num_groups=4,
        **({"cross_attention_dim": 16} | extra),
    ).eval()


def vae():
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
        scaling_factor=1.0,
    ).eval()


def scheduler(prediction_type="epsilon", zero_snr=False):
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def tiny_pipeline(prediction_type="epsilon", *, zero_snr=False, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StableDiffusionPipeline(
            vae=vae(),
            text_encoder=text_encoder(),
            tokenizer=tokenizer(),
            unet=unet(),
            scheduler=scheduler(prediction_type, zero_snr),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def tiny_xl_pipeline():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=text_encoder(),
            text_encoder_2=text_encoder(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=unet(
                cross_attention_dim=32,
                addition_embed_type="text_time",
                addition_time_embed_dim=4,
                projection_class_embeddings_input_dim=6 * 4 + 16,
            ),
            scheduler=scheduler(),
        )


@pytest.fixture
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="session")
def make_pipe():
    """tiny_pipeline itself, for tests that need another prediction type or several pipelines."""
    return tiny_pipeline


@pytest.fixture
def xl_pipe():
    return tiny_xl_pipeline()


@pytest.fixture(scope="session")
def pictures():
    """Four pictures of one colour each, with captions."""
    colours = {"red": (230, 20, 20), "green": (20, 200, 40), "blue": (10, 30, 220), "square": (128, 128, 128)}
    return [(Image.new("RGB", (SIZE, SIZE), colour), f"a {name} picture") for name, colour in colours.items()]


@pytest.fixture
def noise_picture():
    """Random pixels [h w 3], the same every time."""
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def quick():
    """Settings for a run of well under a second."""
    return LoraTraining(rank=2, steps=3, batch_size=2, learning_rate=1e-2, sample_steps=2, device="cpu")
