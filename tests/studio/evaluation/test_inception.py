"""FID's Inception has the layers of torchvision's with the two kinds of pooling of 2015, under the usual names."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.inception import FidInception
from lora_loom.studio.evaluation.registry import find_extractor


@pytest.fixture(scope="module")
def reference():
    """torchvision's Inception with random weights and FID's pooling."""
    import torchvision.models.inception as library

    torch.manual_seed(0)
    model = library.inception_v3(num_classes=1008, aux_logits=False, init_weights=False).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def pool(x, **arguments):
    """Average without the padding; in the last block, which alone pools 2048 channels, the maximum."""
    if x.shape[1] == 2048:
        return F.max_pool2d(x, 3, stride=1, padding=1)
    return F.avg_pool2d(x, count_include_pad=False, **arguments)


def test_features_are_those_of_the_library(reference, monkeypatch):
    import torchvision.models.inception as library

    own = FidInception().eval()
    own.load_weights(reference.state_dict())
    names = ("relu", "max_pool2d")
    monkeypatch.setattr(library, "F", SimpleNamespace(**{name: getattr(F, name) for name in names}, avg_pool2d=pool))
    monkeypatch.setattr(reference, "fc", torch.nn.Identity())
    x = torch.randn(1, 3, 299, 299)
    with torch.inference_mode():
        assert torch.allclose(own(x), reference(x), atol=1e-5)


def test_the_extractor_reads_a_file_of_weights(reference, tmp_path):
    weights = {key: value for key, value in reference.state_dict().items() if not key.endswith("tracked")}
    save_file(weights, tmp_path / "inception.safetensors")
    extractor = find_extractor(f"inception:{tmp_path / 'inception.safetensors'}")
    features = extractor.embed(np.full((1, 20, 30, 3), 200, dtype=np.uint8))
    own = FidInception().eval()
    own.load_weights(reference.state_dict())
    with torch.inference_mode():
        expected = own(torch.full((1, 3, 299, 299), 200 / 127.5 - 1))
    assert features == pytest.approx(expected.numpy(), abs=1e-4)
    assert extractor.info.dim == features.shape[1] == 2048


def test_other_weights_are_refused(tmp_path):
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(EvaluationError, match="does not hold the weights of FID's Inception"):
        find_extractor(f"inception:{tmp_path / 'other.safetensors'}").embed(np.zeros((1, 8, 8, 3), dtype=np.uint8))
