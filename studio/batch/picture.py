"""Picture: one picture of a batch as it is planned; its uid names all that determines it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lora_loom.pipelines.request import GenerationRequest

UID_DIGITS = 24  # hexadecimal: among a billion pictures two share a uid with a chance of 1 in 10^11
CONFIG_DIGITS = 12


@dataclass(frozen=True)
class Picture:
    """One picture: its request, the file hash of every LoRA in it by name, and the revision of the base model.

    `shard` is the unit of work it belongs to. `expected` and `metadata` come from the prompt file and go through.
    """

    prompt_id: str
    sample_index: int
    request: GenerationRequest
    adapter_sha256: Mapping[str, str]
    base_model_revision: str = ""
    expected: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    shard: int = 0

    @cached_property
    def uid(self) -> str:
        """SHA-256 over the prompt and its id, the seed, the configuration and the files of base and LoRAs."""
        asked = [self.prompt_id, self.request.prompt, self.request.seed, self._configuration]
        return _digest(asked)[:UID_DIGITS]

    @cached_property
    def config(self) -> str:
        """A hash of all but the prompt and the seed: equal for pictures that differ in nothing else."""
        return _digest(self._configuration)[:CONFIG_DIGITS]

    @cached_property
    def draw_key(self) -> str:
        """Equal for pictures that can be drawn as one batch."""
        alike = replace(self.request, prompt="-", seed=0, negative_prompt="-" if self.request.negative_prompt else "")
        return alike.to_json()

    @property
    def _configuration(self) -> dict[str, Any]:
        """The request without prompt and seed, LoRAs by the hash of their file: a renamed file is the same LoRA."""
        asked = self.request.to_dict()
        del asked["prompt"], asked["seed"]
        asked["adapters"] = [{**choice, "name": self.adapter_sha256[choice["name"]]} for choice in asked["adapters"]]
        return asked | {"base_model_revision": self.base_model_revision}

    def to_dict(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "shard": self.shard,
            "prompt_id": self.prompt_id,
            "sample_index": self.sample_index,
            "config": self.config,
            "request": self.request.to_dict(),
            "adapter_sha256": dict(self.adapter_sha256),
            "base_model_revision": self.base_model_revision,
            "expected": self.expected,
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Picture:
        """The picture that `to_dict` gave; raises KeyError, TypeError and LoomError for anything else."""
        names = ("prompt_id", "sample_index", "adapter_sha256", "base_model_revision", "expected", "metadata", "shard")
        fields = {name: data[name] for name in names}
        return cls(request=GenerationRequest.from_dict(data["request"]), **fields)


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
