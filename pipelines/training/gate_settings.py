"""GateTraining: all that determines a gate besides its adapters and pictures, checked when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_type_hints

from lora_loom.pipelines.training.settings import LoraTraining, Precision, checked


def _about(help: str, minimum: float | None = None, maximum: float | None = None) -> dict[str, Any]:
    return {"help": help, "min": minimum, "max": maximum}


@dataclass(frozen=True)
class GateTraining:
    """How a gate is trained. Raises SettingError where a value is of the wrong type or out of range."""

    kind: Literal["rank", "channel"] = field(
        default="rank", metadata=_about("rank: one gate per adapter and token, cheap; channel: AutoLoRA's, per channel")
    )
    hidden: int = field(default=24, metadata=_about("width of the rank gate's network", 1, 1024))
    conserve: bool = field(
        default=True, metadata=_about("give a LoRA back elsewhere in the picture what the gate takes from it")
    )
    objective: Literal["pictures", "teacher"] = field(
        default="pictures",
        metadata=_about(
            "pictures: predict the noise of pictures that show several concepts; teacher: imitate a method"
        ),
    )
    teacher: str = field(
        default="arbiter:where=output",
        metadata=_about("the method to imitate, as name or name:setting=value;..., all its passes at every step"),
    )
    steps: int = field(default=300, metadata=_about("number of updates", 1, 10_000_000))
    learning_rate: float = field(default=1e-2, metadata=_about("step size of AdamW", 1e-9, 1.0))
    warmup_steps: int = field(default=10, metadata=_about("updates over which the learning rate rises", 0, 10_000_000))
    sets_per_step: int = field(default=2, metadata=_about("sets of adapters in one update", 1, 256))
    batch_size: int = field(default=8, metadata=_about("pictures of each set", 1, 4096))
    accumulation: int = field(default=1, metadata=_about("forward passes added up for one update", 1, 4096))
    caption_dropout: float = field(
        default=0.1, metadata=_about("share of pictures shown without their caption", 0.0, 1.0)
    )
    weight_decay: float = field(default=1e-3, metadata=_about("weight decay of AdamW", 0.0, 1.0))
    max_grad_norm: float = field(default=1.0, metadata=_about("longer gradients are shortened to it", 1e-6, 1e6))
    resolution: int | None = field(
        default=None, metadata=_about("side of the pictures in pixels; none means the base's own", 8, 8192)
    )
    seed: int = field(default=0, metadata=_about("seed of everything drawn at random", 0, 2**63 - 1))
    mixed_precision: Precision = field(default="no", metadata=_about("number format of the base"))
    gradient_checkpointing: bool = field(default=False, metadata=_about("compute activations twice to save memory"))
    device: Literal["auto", "cpu"] = field(default="auto", metadata=_about("auto takes an accelerator if there is one"))
    save_every: int = field(
        default=0, metadata=_about("updates between two checkpoints; 0 saves only at the end or when stopped", 0, 10**7)
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(GateTraining)
        for item in fields(self):
            value = checked(item.name, getattr(self, item.name), hints[item.name], item.metadata)
            object.__setattr__(self, item.name, value)

    @property
    def machine(self) -> LoraTraining:
        """What opens a base and sizes pictures for any training."""
        return LoraTraining(
            resolution=self.resolution,
            mixed_precision=self.mixed_precision,
            gradient_checkpointing=self.gradient_checkpointing,
            device=self.device,
        )

    @property
    def free(self) -> frozenset[str]:
        """Settings that may change between a stop and a resume."""
        return frozenset({"save_every"})

    def rate_at(self, step: int) -> float:
        """The learning rate at update `step`."""
        return self.learning_rate * self.rate_factor(step)

    def rate_factor(self, step: int) -> float:
        """Share of the full rate at update `step`: linear warm-up, constant, a linear end in the last third."""
        rise = (step + 1) / self.warmup_steps if step < self.warmup_steps else 1.0
        fall = 3 * (self.steps - step) / self.steps
        return min(rise, fall, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)
