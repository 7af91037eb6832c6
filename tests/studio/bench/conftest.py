"""U-Nets with few layers, to count on and to try the clocks with."""

import pytest

CONFIG = {
    "sample_size": 8,
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 16,
    "norm_num_groups": 4,
}


@pytest.fixture(scope="session")
def mini():
    """8x8 latents, 4 transformer blocks: 32 attention linears."""
    from lora_loom.studio.bench.subjects import Subject

    return Subject("mini", CONFIG, latent_size=8)


@pytest.fixture(scope="session")
def one_block():
    """The same without the blocks going up and in the middle: 1 transformer block, 8 attention linears."""
    from lora_loom.studio.bench.subjects import Subject

    blocks = {"up_block_types": ("UpBlock2D", "UpBlock2D"), "mid_block_type": None}
    return Subject("one block", {**CONFIG, **blocks}, latent_size=8)
