"""What every test runs under: one torch thread, no network, no telemetry; and tiny random models, made on the spot."""

import json
import os

import pytest

TINY_TEXT_WIDTH = 16  # of `tiny_pocket`

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: a second thread only waits for the first
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory):
    """What programs keep from one start to the next is kept from the person's own."""
    os.environ["LOOM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def _quick_search_for_offloading():
    """diffusers asks every module for hooks of group offloading a dozen times a picture: a sixth of its time."""
    from diffusers.hooks import group_offloading

    def search(module):
        waiting = [module]
        while waiting:
            own = waiting.pop().__dict__
            if "_diffusers_hook" in own:
                hook = own["_diffusers_hook"].get_hook(group_offloading._GROUP_OFFLOADING)
                if hook is not None:
                    return hook
            waiting.extend(child for child in own["_modules"].values() if child is not None)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group_offloading, "_get_top_level_group_offload_hook", search)
        yield


@pytest.fixture(scope="session")
def write_lora():
    """Writes a small random LoRA in the PEFT layout, for the attention layers of `tiny_pocket`, with its sidecar."""

    def write(path, *, title="", category="", triggers="", strength=None, metadata=None, seed=0, rank=2):
        import torch
        from safetensors.torch import save_file

        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for block, width in (("down_blocks.1", 32), ("up_blocks.0", 32)):
            for layer, inner in (("attn1.to_q", width), ("attn2.to_k", TINY_TEXT_WIDTH)):
                key = f"unet.{block}.attentions.0.transformer_blocks.0.{layer}"
                tensors[f"{key}.lora_A.weight"] = torch.randn(rank, inner, generator=generator) * 0.3
                tensors[f"{key}.lora_B.weight"] = torch.randn(width, rank, generator=generator) * 0.3
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=metadata)
        notes = {"title": title, "category": category, "activation text": triggers, "preferred weight": strength}
        if any(notes.values()):
            path.with_suffix(".json").write_text(json.dumps({key: value for key, value in notes.items() if value}))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_pocket(tmp_path_factory, _quick_search_for_offloading):
    """Folder of a random pipeline shaped like the pocket base, with its vocabulary: 32 pixels from 8x8x4 latents."""
    import torch
    from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from lora_loom.studio.pocket.tokenizer import new_tokenizer

    torch.manual_seed(0)
    tokenizer = new_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TINY_TEXT_WIDTH,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TINY_TEXT_WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=TINY_TEXT_WIDTH,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    vae = AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(
            prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path_factory.mktemp("tiny_pocket")
    pipeline.save_pretrained(folder)
    return folder


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
