"""Family: all that Loom knows of one kind of base model, as plain data; `families/` holds one file for each.

No torch and no diffusers here: classes are named by strings, as they are in a `model_index.json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.places import ModuleShape, Place

ROLES = ("structure", "identity", "style")
Naming: TypeAlias = "Callable[[Mapping[str, ModuleShape]], dict[str, tuple[Place, ...]]]"
Roles = Callable[[Any], Callable[[str], str]]  # a denoiser -> (a module path -> one of ROLES)


@dataclass(frozen=True)
class PipelineNames:
    """diffusers' classes for this family by what they draw from, empty where there is none; `others` are only known."""

    text: str = ""
    image: str = ""
    inpaint: str = ""
    control: str = ""
    others: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return (name for name in (self.text, self.image, self.inpaint, self.control, *self.others) if name)


@dataclass(frozen=True)
class Sign:
    """What tells a family in a list of names, a line each: keys of a LoRA file, or `component.path` of a base's layers.

    `names` is found in a line, `along` in another one, and `without` in none. Where `widths` are given, the layer of
    the first line found takes inputs of one of them. `weight` ranks signs of several families: the heaviest counts, and
    of equal ones none. One that `yields` is weaker than what a header claims. `why` says it in words; {width} stands
    for the width found.
    """

    names: str
    why: str
    without: str = ""
    along: str = ""
    widths: tuple[int, ...] = ()
    any_width: bool = False
    weight: int = 2
    yields: bool = False


@dataclass(frozen=True)
class Call:
    """How a pipeline calls the denoiser: the names of its arguments, and what they are.

    `unit` is how it tells the time: in the scheduler's `training` steps, as the `share` of them that is left, or as the
    share of `signal`, one less that. `text` are the arguments that come from the prompt, `states` the token states
    among them, and `mask` the attention mask of [text, picture] that follows `mask_after` tensors behind the states in
    what `encode_prompt` gives. `unbatched` have no batch in front; `positions` tells the grid of a sample that comes as
    tokens. With `listed`, sample, states and prediction are lists of one tensor per sample, pictures with an axis for
    their only frame.
    """

    sample: str = "hidden_states"
    timestep: str = "timestep"
    unit: Literal["training", "share", "signal"] = "training"
    states: str = "encoder_hidden_states"
    text: tuple[str, ...] = ("encoder_hidden_states",)
    mask: str = ""
    mask_after: int = 0
    unbatched: tuple[str, ...] = ()
    positions: str = ""
    listed: bool = False


@dataclass(frozen=True)
class Guidance:
    """What guidance there is, and how both of its predictions are asked for.

    `off` is the scale at which there is no classifier-free guidance. `halves` says whether it runs as one batch, and
    with which half in front, or as two calls.
    """

    kind: Literal["classifier-free", "embedded", "both", "none"] = "classifier-free"
    negative_prompt: bool = True
    off: float = 1.0
    halves: Literal["negative first", "positive first", "calls"] = "negative first"


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder by its place in the pipeline; `kohya` and `native` are the prefixes of its keys in the dialects.

    The first of `kohya` is the one that is written.
    """

    component: str
    kohya: tuple[str, ...] = ()
    native: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blocks:
    """Where the layers of the denoiser are: its blocks in order, named groups of layers, and what is made of text.

    `stacks` are the module lists in the order in which they run; `around` says that the way up returns to what the way
    down began with. `last` are the layers behind all blocks. `groups` are patterns by name, over which a layer's factor
    is the product. `text` is found in paths of layers that see text tokens alone; `joined` names the stacks whose
    tokens are those of the picture and of the text, and where the text stands; in them the picture has a token for
    every `patch` x `patch` places of the sample. `attention`, `crossing`, `feed_forward` and `text_stream` sort the
    layers for a forecast.
    """

    stacks: tuple[str, ...] = ()
    around: bool = False
    last: str = r"^(proj_out|norm_out)(\.|$)"
    groups: Mapping[str, str] = field(default_factory=dict[str, str])
    roles: Roles | None = None
    text: str = ""
    patch: int = 1
    joined: Mapping[str, Literal["before", "after"]] = field(default_factory=dict[str, Any])
    attention: str = r"\.attn\d?\."
    crossing: str = ""
    feed_forward: str = r"\.ff\."
    text_stream: str = ""


@dataclass(frozen=True)
class Sizes:
    """Sides of a picture: a multiple of so many latents and at least of so many pixels, and those trained on."""

    latents: int = 1
    pixels: int = 1
    trained: tuple[int, ...] = (1024,)

    def multiple(self, pixels_per_latent: int) -> int:
        return max(pixels_per_latent * self.latents, self.pixels)


@dataclass(frozen=True)
class Defaults:
    """What a request begins with, and the types that the weights may have, the usual one on an accelerator first."""

    steps: int = 30
    guidance: float = 5.0
    sampler: str = "default"
    dtypes: tuple[str, ...] = ("float16", "bfloat16", "float32")

    def of_request(self) -> dict[str, object]:
        """By the names of a request's fields."""
        return {"num_inference_steps": self.steps, "guidance_scale": self.guidance, "scheduler": self.sampler}


@dataclass(frozen=True)
class FileLayout:
    """How a LoRA file of this family is written: the denoiser's prefix, and what the header says it is for."""

    peft: str = "transformer"
    kohya: str = "lora_unet"
    version: str = "unknown"
    architecture: str = ""
    v2: bool = False


@dataclass(frozen=True)
class Family:
    """One kind of base model. With `runs` off it is only recognised, so that it is refused by its name.

    `denoiser` is the class of the network, `base` tells its layers from those of other families with that class.
    `evidence` and `claims` (a pattern in the header's fields) tell a LoRA file; `build` are the names that files of
    this family have in common with others. `inputs` are the layers that take the picture in. `single_file` are
    diffusers' words for a checkpoint, `checkpoint` the beginnings of keys in the original code. `replay` is how
    features of a full pass are kept: around the depths of a U-Net, or between the first blocks and the last; empty
    where it cannot be.
    """

    name: str
    title: str
    runs: bool = True
    pipelines: PipelineNames = PipelineNames()
    denoiser: str = ""
    base: tuple[Sign, ...] = ()
    call: Call = Call()
    guidance: Guidance = Guidance()
    text_encoders: tuple[TextEncoder, ...] = ()
    blocks: Blocks = Blocks()
    sizes: Sizes = Sizes()
    sets_sigmas: Literal["", "array", "list"] = ""  # in which form the pipeline gives its scheduler sigmas of its own
    defaults: Defaults = Defaults()
    claims: str = ""
    evidence: tuple[Sign, ...] = ()
    build: str = ""
    naming: Naming | None = None
    layout: FileLayout = FileLayout()
    inputs: tuple[str, ...] = ()
    single_file: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    replay: Literal["depths", "blocks", ""] = ""


def thirds(stacks: tuple[str, ...], last: str) -> Roles:
    """The roles of a transformer: thirds of the depth over its stacks; what is `last` is style, the rest structure."""

    def of_model(model: Any) -> Callable[[str], str]:
        counts = {stack: len(getattr(model, stack, ())) for stack in stacks}
        total = sum(counts.values())

        def role(path: str) -> str:
            before = 0
            for stack, count in counts.items():
                if found := re.match(rf"{stack}\.(\d+)\.", path):
                    return ROLES[3 * (before + int(found[1])) // total]
                before += count
            return "style" if re.search(last, path) else "structure"

        return role

    return of_model
