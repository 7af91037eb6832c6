"""Files of kinds that Loom loads on no base: the kind is in the first words, and no other base is advised."""

import pytest
import torch

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.errors import AdapterMatchError

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
RAW = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def test_the_kind_comes_first(bases, subtests):
    cases = [
        ([f"{STEM}.{part}" for part in ("a1.weight", "a2.weight", "b1.weight", "b2.weight", "alpha")], "a GLoRA"),
        ([f"{STEM}.weight", f"{STEM}.on_input"], "an IA3"),
        ([f"{STEM}.oft_blocks", f"{STEM}.alpha"], "an OFT or BOFT"),
        ([f"{STEM}.diff", f"{STEM}.diff_b"], "a full difference"),
        ([f"{RAW}.oft_R.weight"], "an OFT"),
        ([f"{RAW}.oft_r"], "an OFT"),
        ([f"{RAW}.boft_R", f"{RAW}.boft_s"], "a BOFT"),
        ([f"{RAW}.ia3_l"], "an IA3"),
        ([f"{RAW}.vera_lambda_b", f"{RAW}.vera_lambda_d"], "a VeRA"),
        (["unet:0:down", "unet:0:up", "text_encoder:0:down", "text_encoder:0:up"], "a LoRA in the first public format"),
    ]
    for keys, title in cases:
        with subtests.test(keys=keys[0]), pytest.raises(AdapterMatchError) as caught:
            load_adapter({key: torch.ones(4, 4) for key in keys}, name="a", target=bases["sd15"].target)
        with subtests.test(keys=keys[0], title=title):
            text = str(caught.value)
            assert f" is {title}, " in text.partition(":")[0]
            assert not any(wrong in text for wrong in ("Choose the base", "ControlNet", "embedding or"))
            assert caught.value.expected
            assert caught.value.found
            assert caught.value.remedy
