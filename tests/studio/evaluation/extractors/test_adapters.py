"""The extractors over real libraries, on tiny random models: the same features as the library's own way."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.registry import find_extractor

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)


def prepared(pixels, size, *, mean=MEAN, std=STD, shorter=None):
    """The usual preparation by Pillow alone: shorter side, centre, mean and deviation."""
    made = []
    for array in pixels:
        picture = Image.fromarray(array)
        scale = (shorter or size) / min(picture.size)
        picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
        left, top = ((side - size) // 2 for side in picture.size)
        made.append(np.asarray(picture.crop((left, top, left + size, top + size))) / 255.0)
    x = (np.stack(made) - mean) / std
    return torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2)


def test_clip_is_the_model_of_transformers(clip_folder, pixels):
    from transformers import CLIPModel

    extractor = find_extractor(f"clip:{clip_folder}")
    model = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=prepared(pixels, 16)).pooler_output
    assert extractor.embed(pixels) == pytest.approx(expected.numpy(), abs=1e-5)
    assert extractor.dim == expected.shape[1] == 8
    assert extractor.info.has_text


def test_clip_reads_texts_and_counts_those_it_cuts(clip_folder):
    extractor = find_extractor(f"clip:{clip_folder}")
    found = extractor.embed_text(["abc", "abcdefghijklmnop"])
    assert found.features.shape == (2, 8)
    assert found.truncated.tolist() == [False, True]
    assert extractor.embed_text(["abc"]).features[0] == pytest.approx(found.features[0], abs=1e-5)


def test_the_preprocessor_of_a_folder_is_followed(clip_folder, pixels, tmp_path):
    import shutil

    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    config = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**config, "image_std": [0.25] * 3}))
    own = find_extractor(f"clip:{folder}")
    assert own.version == find_extractor(f"clip:{clip_folder}").version  # the weights are the same
    with torch.inference_mode():
        x = prepared(pixels, 16, mean=(0.5,) * 3, std=(0.25,) * 3, shorter=20)
        expected = own._model.get_image_features(pixel_values=x).pooler_output
    assert own.embed(pixels) == pytest.approx(expected.numpy(), abs=1e-5)


def test_dinov2_is_the_class_token(dinov2_folder, pixels):
    from transformers import Dinov2Model

    extractor = find_extractor(f"dinov2:{dinov2_folder}")
    model = Dinov2Model.from_pretrained(dinov2_folder).eval()
    x = prepared(pixels, 28, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), shorter=32)
    with torch.inference_mode():
        expected = model(pixel_values=x).last_hidden_state[:, 0]
    assert extractor.embed(pixels) == pytest.approx(expected.numpy(), abs=1e-5)
    with pytest.raises(EvaluationError, match="no text tower"):
        extractor.embed_text(["a"])


def test_open_clip_from_a_folder(pixels, tmp_path):
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    model = open_clip.CLIP(**config).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors"
    )
    extractor = find_extractor(f"open_clip:{tmp_path}")
    with torch.inference_mode():
        expected = model.encode_image(prepared(pixels, 16))
        words = model.encode_text(open_clip.tokenize(["a cat"], context_length=12))
    assert extractor.embed(pixels) == pytest.approx(expected.numpy(), abs=1e-5)
    found = extractor.embed_text(["a cat", "one two three four five six seven eight nine ten eleven twelve"])
    assert found.features[0] == pytest.approx(words[0].numpy(), abs=1e-5)
    assert found.truncated.tolist() == [False, True]
    assert extractor.dim == 8


def test_what_cannot_be_used_says_why(subtests):
    cases = [
        ("clip", "no model is named"),
        ("clip:/nowhere", "the folder /nowhere is not there"),
        ("dinov2", "no model is named"),
        ("open_clip", "no model is named"),
        ("open_clip:ViT-B-32=/nowhere.safetensors", "the weights /nowhere.safetensors are not there"),
        ("open_clip:ViT-B-32", "no weights are named"),
        ("inception", "no weights are named"),
        ("inception:/nowhere.pth", "the weights /nowhere.pth are not there"),
    ]
    for asked, reason in cases:
        with subtests.test(asked=asked, reason=reason):
            extractor = find_extractor(asked)
            usable, said = extractor.available()
            assert not usable
            assert reason in said
            with pytest.raises(EvaluationError, match="is unavailable because"):
                extractor.require_available()


def test_a_model_that_cannot_be_fetched_is_named():
    with pytest.raises(EvaluationError, match="clip:nobody/nothing could not be loaded"):
        find_extractor("clip:nobody/nothing").embed(np.zeros((1, 8, 8, 3), dtype=np.uint8))


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(
        EvaluationError, match=r"no feature extractor named 'dinov3'.*clip, dinov2.*Did you mean 'dinov2'"
    ):
        find_extractor("dinov3:x")
