"""XLabs' names for FLUX, against diffusers' own conversion of them."""

import torch

from lora_loom.pipelines.adapters.load import load_adapter


def xlabs_file(prefix: str = "") -> dict[str, torch.Tensor]:
    layers = {}
    for block in range(2):
        for stream in (1, 2):
            layers[f"double_blocks.{block}.processor.qkv_lora{stream}"] = (48, 16)
            layers[f"double_blocks.{block}.processor.proj_lora{stream}"] = (16, 16)
    for block in range(3):
        layers[f"single_blocks.{block}.processor.qkv_lora"] = (48, 16)
        layers[f"single_blocks.{block}.processor.proj_lora"] = (16, 80)
    return {
        f"{prefix}{name}.{part}.weight": torch.randn(rows, 3) if part == "up" else torch.randn(3, columns)
        for name, (rows, columns) in layers.items()
        for part in ("down", "up")
    }


def test_every_layer_equals_diffusers(bases, diffusers_deltas, assert_same_deltas):
    tensors = xlabs_file()
    adapter = load_adapter(tensors, name="a", target=bases["flux"].target)
    assert adapter.receipt.dialect == "xlabs"
    assert adapter.receipt.complete
    deltas, _ = diffusers_deltas("flux", tensors)
    assert_same_deltas(adapter, deltas)


def test_comfyui_prefix_makes_no_difference(bases, assert_same_deltas):
    target, tensors = bases["flux"].target, xlabs_file()
    plain = load_adapter(tensors, name="a", target=target)
    deltas = {("denoiser", path): factors.delta() for path, factors in plain.denoiser.items()}
    prefixed = {f"diffusion_model.{key}": value for key, value in tensors.items()}
    assert_same_deltas(load_adapter(prefixed, name="a", target=target), deltas)


def test_an_unknown_processor_is_named(bases):
    tensors = xlabs_file() | {"double_blocks.0.processor.ip_adapter.down.weight": torch.randn(2, 2)}
    receipt = load_adapter(tensors, name="a", target=bases["flux"].target).receipt
    assert [each.name for each in receipt.unknown_keys] == ["double_blocks.0.processor.ip_adapter.down.weight"]
