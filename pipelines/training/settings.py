"""LoraTraining: all that determines a LoRA besides its pictures, checked when it is made; and what to call it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from lora_loom.pipelines.errors import SettingError

Targets = Literal["attention", "conv", "full"]
Schedule = Literal["constant", "cosine"]
Precision = Literal["no", "fp16", "bf16"]
Layout = Literal["peft", "kohya"]
FileType = Literal["float16", "float32", "bfloat16"]

# Settings that may change between a stop and a resume, because no weight depends on them.
FREE_ON_RESUME = frozenset({"save_every", "sample_every", "sample_prompts", "sample_columns", "sample_steps"})


def _about(help: str, minimum: float | None = None, maximum: float | None = None) -> dict[str, Any]:
    return {"help": help, "min": minimum, "max": maximum}


@dataclass(frozen=True)
class LoraTraining:
    """How a LoRA is trained. Raises SettingError where a value is of the wrong type or out of range."""

    rank: int = field(default=8, metadata=_about("width of each update; more holds more and overfits sooner", 1, 1024))
    alpha: float | None = field(
        default=None, metadata=_about("scale of the update is alpha / rank; none means alpha = rank", 1e-3, 1e4)
    )
    targets: Targets = field(
        default="attention", metadata=_about("attention layers; conv adds convolutions; full adds feed-forward too")
    )
    learning_rate: float = field(default=1e-4, metadata=_about("step size of AdamW for the denoiser", 1e-9, 1.0))
    text_encoder_learning_rate: float = field(
        default=0.0, metadata=_about("step size for the text encoders; 0 leaves them alone", 0.0, 1.0)
    )
    steps: int = field(default=1000, metadata=_about("number of updates", 1, 10_000_000))
    batch_size: int = field(default=4, metadata=_about("pictures in one forward pass", 1, 4096))
    accumulation: int = field(
        default=1, metadata=_about("forward passes whose gradients are added up for one update", 1, 4096)
    )
    schedule: Schedule = field(default="constant", metadata=_about("learning rate over time, after the warm-up"))
    warmup_steps: int = field(
        default=0, metadata=_about("updates over which the learning rate rises to its full value", 0, 10_000_000)
    )
    weight_decay: float = field(default=0.01, metadata=_about("weight decay of AdamW", 0.0, 1.0))
    max_grad_norm: float = field(
        default=1.0, metadata=_about("gradients longer than this are shortened to it; 0 leaves them alone", 0.0, 1e6)
    )
    min_snr_gamma: float = field(
        default=0.0, metadata=_about("cap on the signal-to-noise weight of easy steps, 5 is usual; 0 is off", 0.0, 1e4)
    )
    resolution: int | None = field(
        default=None, metadata=_about("side of the training pictures in pixels; none means the base's own", 8, 8192)
    )
    trigger: str = field(
        default="", metadata=_about("word that calls the concept; put before every caption that lacks it")
    )
    templates: tuple[str, ...] = field(
        default=("{caption}",),
        metadata=_about("caption patterns, one drawn per picture and step; may use {caption} and {trigger}"),
    )
    caption_dropout: float = field(
        default=0.05, metadata=_about("share of pictures shown without their caption", 0.0, 1.0)
    )
    prior_weight: float = field(
        default=0.0,
        metadata=_about("weight of the loss on pictures of the base itself; 0 is off, 1 is usual", 0.0, 100.0),
    )
    prior_images: int = field(
        default=64, metadata=_about("how many pictures the base draws of itself for that", 1, 100_000)
    )
    prior_prompt: str = field(
        default="", metadata=_about("what it draws; empty means the captions without the trigger")
    )
    seed: int = field(default=0, metadata=_about("seed of everything drawn at random", 0, 2**63 - 1))
    mixed_precision: Precision = field(default="no", metadata=_about("number format of the forward pass"))
    gradient_checkpointing: bool = field(default=False, metadata=_about("compute activations twice to save memory"))
    device: Literal["auto", "cpu"] = field(default="auto", metadata=_about("auto takes an accelerator if there is one"))
    file_type: FileType = field(default="float16", metadata=_about("number format of the written file"))
    layout: Layout = field(
        default="peft", metadata=_about("names in the file: peft as diffusers has them, kohya for A1111 and ComfyUI")
    )
    save_every: int = field(
        default=0,
        metadata=_about("updates between two snapshots; 0 saves only at the end or when stopped", 0, 10_000_000),
    )
    sample_every: int = field(
        default=0, metadata=_about("updates between two grids of samples; 0 draws none", 0, 10_000_000)
    )
    sample_prompts: tuple[str, ...] = field(
        default=(), metadata=_about("rows of the grid; empty means the first four captions")
    )
    sample_columns: int = field(default=4, metadata=_about("columns of the grid, each with its own fixed noise", 1, 64))
    sample_steps: int = field(default=20, metadata=_about("sampler steps for one sample", 1, 1000))
    sample_guidance: float = field(
        default=5.0, metadata=_about("guidance scale of the samples and of the prior pictures", 0.0, 100.0)
    )

    def __post_init__(self) -> None:
        hints = get_type_hints(LoraTraining)
        for item in fields(self):
            value = checked(item.name, getattr(self, item.name), hints[item.name], item.metadata)
            object.__setattr__(self, item.name, value)
        if self.warmup_steps > self.steps:
            raise SettingError(
                "the warm-up is longer than the training",
                expected=f"warmup_steps of at most steps = {self.steps}",
                found=str(self.warmup_steps),
            )
        if not self.templates:
            raise SettingError("templates is empty", expected="at least one pattern", remedy='use "{caption}"')

    @property
    def free(self) -> frozenset[str]:
        """Settings that may change between a stop and a resume: no earlier step depends on them.

        The number of steps is one of them under a constant schedule.
        """
        return FREE_ON_RESUME | ({"steps"} if self.schedule == "constant" else frozenset[str]())

    @property
    def lora_alpha(self) -> float:
        """Alpha in force: the one that was set, or the rank."""
        return float(self.rank if self.alpha is None else self.alpha)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        values: dict[str, Any] = asdict(self)
        return values | {name: list(values[name]) for name in ("templates", "sample_prompts")}


@dataclass(frozen=True)
class LoraDescription:
    """What a library shows of a LoRA; an empty title means the file's name."""

    title: str = ""
    category: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""
    preferred_weight: float = 1.0


def learning_rate_factor(settings: LoraTraining, step: int) -> float:
    """Share of the full learning rate at update `step` = 0, 1 ...: linear warm-up, then constant or half a cosine."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)  # [0, 1)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def checked(name: str, value: Any, kind: Any, limits: Any) -> Any:
    """The value as the field's type, or SettingError."""
    options: tuple[Any, ...] = get_args(kind)
    if type(None) in options:
        if value is None:
            return None
        kind = next(option for option in options if option is not type(None))
    if get_origin(kind) is Literal:
        if value not in options:
            raise SettingError(f"{name} is unknown", expected=f"one of {', '.join(options)}", found=repr(value))
        return value
    if get_origin(kind) is tuple:
        entries = tuple(cast("Sequence[object]", value)) if isinstance(value, list | tuple) else (None,)
        if not all(isinstance(entry, str) for entry in entries):
            raise SettingError(f"{name} is not a list of texts", expected="a list of strings")
        return entries
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise SettingError(f"{name} is of the wrong type", expected=kind.__name__, found=repr(value))
    if kind in (int, float):
        _check_range(name, value, limits["min"], limits["max"])
    return value


def _check_range(name: str, value: float, minimum: float, maximum: float) -> None:
    if not (math.isfinite(value) and minimum <= value <= maximum):
        raise SettingError(f"{name} is out of range", expected=f"{minimum:g} to {maximum:g}", found=repr(value))
