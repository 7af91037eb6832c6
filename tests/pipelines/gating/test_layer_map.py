"""A base is told from another by prints of its layers, whatever its number format."""

import torch

from lora_loom.pipelines.gating.layer_map import LayerMap, fingerprint_of


def model(seed):
    torch.manual_seed(seed)
    return torch.nn.ModuleDict(
        {str(i): torch.nn.Linear(16 + i, 32) for i in range(40)} | {"c": torch.nn.Conv2d(4, 8, 3)}
    )


def test_its_own_base_is_known_also_in_half_precision_and_lightly_tuned():
    base = model(0)
    layers = LayerMap.of(base)
    assert list(layers.rows) == list(base)
    assert all(layers.knows(path, module) for path, module in base.items())
    assert all(layers.knows(path, module) for path, module in model(0).to(torch.bfloat16).items())
    with torch.no_grad():
        for value in base.parameters():
            value += 0.03 * value.std() * torch.randn_like(value)
    assert all(layers.knows(path, module) for path, module in base.items())


def test_another_base_of_the_same_build_is_not_known():
    layers = LayerMap.of(model(0))
    assert sum(layers.knows(path, module) for path, module in model(1).items()) <= 1
    assert not layers.knows("41", model(0)["0"])
    assert not layers.knows("0", torch.nn.Linear(16, 33))


def test_weights_that_cannot_be_read_are_taken_on_trust():
    with torch.device("meta"):
        layer = torch.nn.Linear(16, 32)
    assert fingerprint_of(layer) is None
    assert LayerMap.of(model(0)).knows("0", layer)
