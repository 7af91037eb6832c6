"""A U-Net with few layers, to count on and to try the clocks with."""

import pytest


@pytest.fixture(scope="session")
def mini():
    """8x8 latents, 4 transformer blocks: 32 attention linears."""
    from studio.bench.subjects import Subject

    config = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 16,
        "norm_num_groups": 4,
    }
    return Subject("mini", config, latent_size=8)
