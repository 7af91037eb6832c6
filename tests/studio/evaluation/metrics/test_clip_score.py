"""The four meanings of CLIPScore, and the prompts that were cut short."""

import numpy as np
import pytest

from lora_loom.studio.evaluation.features import ExtractorInfo, TextFeatures
from lora_loom.studio.evaluation.metric import Batch, Sample
from lora_loom.studio.evaluation.metrics.clip_score import DEPICTS, PLAIN, ClipScore

ANGLES = np.array([0.2, 1.0, 2.0, 3.0])


def scores(info="clip:x@0", shift=0.0, truncated=False):
    images = np.stack([np.cos(ANGLES + shift), np.sin(ANGLES + shift)], 1).astype(np.float32) * 5
    plain = np.tile([1.0, 0.0], (4, 1)).astype(np.float32)
    prefixed = np.tile([0.0, 2.0], (4, 1)).astype(np.float32)
    cut = np.array([truncated, False, truncated, False])
    metric = ClipScore(ExtractorInfo(info, "r", 2, True))
    texts = {PLAIN: TextFeatures(plain, cut), DEPICTS: TextFeatures(prefixed, cut)}
    metric.update(Batch([Sample(str(i), f"prompt {i}", i) for i in range(4)], images, texts))
    return {result.variant: result for result in metric.compute()}


def test_each_by_its_definition():
    found = scores()
    assert found["cosine"].value == pytest.approx(np.cos(ANGLES).mean(), abs=1e-6)
    assert found["hessel"].value == pytest.approx(2.5 * np.maximum(np.sin(ANGLES), 0).mean(), abs=1e-6)
    assert found["torchmetrics"].value == pytest.approx(max(100 * np.cos(ANGLES).mean(), 0), abs=1e-4)
    assert "coco" not in found


def test_torchmetrics_clamps_the_mean_not_each_pair():
    found = scores(shift=1.0)
    assert found["cosine"].value < 0
    assert found["torchmetrics"].value == 0
    assert found["hessel"].value > 0


def test_the_one_of_coco_tables_is_given_on_its_model_alone():
    assert scores("open_clip:ViT-g-14=w@0")["coco"].value == pytest.approx(np.cos(ANGLES).mean(), abs=1e-6)


def test_truncated_prompts_are_counted():
    assert scores(truncated=True)["cosine"].warnings == (
        "2 prompts are longer than the model reads; their ends had no say",
    )
