"""Pictures, rows and an extractor that needs no weights, for the tests of the evaluation."""

import json

import numpy as np
import pytest
from PIL import Image

from lora_loom.studio.evaluation.extractor import FeatureExtractor
from lora_loom.studio.evaluation.features import ExtractorInfo, TextFeatures
from lora_loom.studio.evaluation.metric import Batch, Sample


class MeanColours(FeatureExtractor):
    """The mean colours of the four quarters, 12 features; a text is what its bytes add up to. Counts its pictures."""

    kind = "mean_colours"
    title = "Mean colours"
    has_text = True
    version = "0123456789abcdef"
    dim = 12

    def __init__(self, source=""):
        super().__init__(source)
        self.seen = 0

    def available(self):
        return True, ""

    def embed(self, pixels):
        self.seen += len(pixels)
        n, h, w, _ = pixels.shape
        quarters = pixels[:, : h // 2 * 2, : w // 2 * 2].reshape(n, 2, h // 2, 2, w // 2, 3)
        return (quarters.mean((2, 4)) / 255).reshape(n, 12).astype(np.float32)

    def embed_text(self, texts):
        rows = [np.random.default_rng(sum(text.encode())).random(12) for text in texts]
        return TextFeatures(np.array(rows, dtype=np.float32), np.array([len(text) > 60 for text in texts]))


@pytest.fixture
def extractor():
    return MeanColours()


@pytest.fixture(scope="session")
def feed():
    """Gives features (and reference features) to a new metric, in batches, one prompt per picture unless told."""

    def feed(kind, generated, reference=None, clusters=None, info=None, batch=100):
        metric = kind(info or ExtractorInfo("fixed@0", "none", generated.shape[1]))
        for side, features in (("generated", generated), ("reference", reference)):
            if features is None:
                continue
            for start in range(0, len(features), batch):
                part = features[start : start + batch].astype(np.float32)
                named = clusters if clusters is not None and side == "generated" else None
                samples = [
                    Sample(f"{start + i:06}", "" if named is None else named[start + i], start + i)
                    for i in range(len(part))
                ]
                metric.update(Batch(samples, part), side)
        return metric

    return feed


@pytest.fixture
def write_folder(tmp_path):
    """Writes pictures of noise around a colour, with a metadata.jsonl if rows are given, and returns the folder."""

    def write(name, n=12, *, rows=None, size=(16, 16), seed=0, colour=128):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        for index in range(n):
            noise = rng.normal(colour, 40, (size[1], size[0], 3)) + rng.normal(0, 25, 3)
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / f"{index:03}.png")
        if rows is not None:
            lines = [json.dumps({"file_name": f"{index:03}.png", **row}) for index, row in enumerate(rows)]
            (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return write
