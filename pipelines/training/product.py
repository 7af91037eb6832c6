"""What a training makes: the LoRA as it stands, checked in a bare pipeline, written with its header and sidecars."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
from lora_loom.pipelines.adapters.write import save_adapter
from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.attach import attached_lora, lora_parameters, lora_tensors
from lora_loom.pipelines.training.data import TrainingData
from lora_loom.pipelines.training.load_check import check_file, probe
from lora_loom.pipelines.training.machine import seeded
from lora_loom.pipelines.training.metadata import TrainingFacts, sidecar, training_metadata
from lora_loom.pipelines.training.prediction import training_scheduler
from lora_loom.pipelines.training.run_folder import write_json, write_png
from lora_loom.pipelines.training.settings import FileType, LoraDescription, LoraTraining

DTYPES: dict[FileType, torch.dtype] = {
    "float16": torch.float16,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}
REHEARSAL_WEIGHT = 0.1  # standard deviation of B in the rehearsal: an effect well above what half precision rounds


@dataclass(frozen=True)
class LoraProduct:
    """The LoRA at one moment, what to write about it, and what the base predicts with it attached."""

    adapter: Adapter
    metadata: Mapping[str, str]
    prediction: Tensor


@dataclass(frozen=True)
class LoraWriter:
    """Makes and writes products of one training; `target` are the layers of the bare base."""

    pipe: Any
    settings: LoraTraining
    about: LoraDescription
    data: TrainingData
    target: BaseTarget
    name: str
    base_name: str

    def take(self, components: Mapping[str, nn.Module], step: int, loss: float) -> LoraProduct:
        """The LoRA that is attached now. TrainingError if it is not finite in the number format of the file."""
        tensors = lora_tensors(components)
        self._check_finite(tensors)
        facts = TrainingFacts(
            output_name=self.name,
            base_name=self.base_name,
            step=step,
            num_pictures=self.data.num_items,
            captions=self.data.captions,
            size=self.data.size,
            prediction_type=str(training_scheduler(self.pipe).config["prediction_type"]),
            loss=loss,
        )
        return LoraProduct(
            adapter=load_adapter(tensors, name=self.name, target=self.target),
            metadata=training_metadata(self.settings, self.about, facts),
            prediction=probe(self.pipe, self.data.captions[0], self.data.size),
        )

    def rehearse(self, device: torch.device) -> None:
        """Write and load a LoRA with random weights before any time is spent on training one."""
        with seeded(self.settings.seed, device):
            with attached_lora(self.pipe, self.settings) as components:
                with torch.no_grad():
                    for name, value in lora_parameters(components).items():
                        if ".lora_B." in name:
                            value.normal_(std=REHEARSAL_WEIGHT)
                product = self.take(components, step=0, loss=0.0)
            self.check(product)

    def check(self, product: LoraProduct) -> None:
        """TrainingError unless the product's file does in a bare pipeline what the LoRA did when it was taken."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self.name}.safetensors"
            self.write(product, path)
            check_file(self.pipe, path, self.data.captions[0], self.data.size, product.prediction)

    def write(self, product: LoraProduct, path: Path) -> str:
        """Write the file whole or not at all and give its SHA-256; OutputError if it could not be written."""
        settings = self.settings
        dtype = DTYPES[settings.file_type]
        return save_adapter(product.adapter, path, layout=settings.layout, dtype=dtype, metadata=product.metadata)

    def finish(self, product: LoraProduct, preview: Image.Image, out: Path) -> str:
        """Check the product and write it with its sidecar and preview; gives the SHA-256 of the LoRA file."""
        self.check(product)
        write_png(out.with_suffix(".preview.png"), preview)
        write_json(out.with_suffix(".json"), sidecar(self.settings, self.about, self.name))
        return self.write(product, out)

    def _check_finite(self, tensors: Mapping[str, Tensor]) -> None:
        file_type = self.settings.file_type
        broken = [key for key, value in tensors.items() if not torch.isfinite(value.to(DTYPES[file_type])).all()]
        if broken:
            raise TrainingError(
                f"{len(broken)} of {len(tensors)} trained tensors are not finite in {file_type}",
                found=broken[0],
                remedy="lower the learning rate, or write float32",
            )
