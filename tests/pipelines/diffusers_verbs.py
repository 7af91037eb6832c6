"""What a diffusers user calls first, as cases: the same on a pipeline of Loom, refused with advice, or told of."""

import warnings
from dataclasses import dataclass

import diffusers
import torch
from safetensors.torch import save_file

from lora_loom.pipelines.errors import LoomWarning
from lora_loom.pipelines.families import FusionPipeline
from tests.pipelines.tiny_pipelines import tiny


@dataclass(frozen=True)
class Same:
    """A call that gives what diffusers gives: `run` on either pipeline returns a tensor or plain values."""

    call: str
    run: object
    note: str = ""


@dataclass(frozen=True)
class Refused:
    """A call that raises a LoomError with `words` in it."""

    call: str
    run: object
    words: str
    instead: str


@dataclass(frozen=True)
class Told:
    """A call that goes on as diffusers does but for the LoRAs, and says so in a LoomWarning with `words`."""

    call: str
    run: object
    words: str
    note: str


class Desk:
    """One pipeline with LoRAs at hand, plain or Loom's."""

    def __init__(self, pipe, loras, draw, folder):
        self.pipe, self.loras, self._draw, self.folder = pipe, loras, draw, folder

    def load(self, *names, **options):
        for name in names:
            self.pipe.load_lora_weights(dict(self.loras[name]), adapter_name=name, **options)
        return self

    def both(self, *weights):
        self.load("fox", "ink").pipe.set_adapters(["fox", "ink"], list(weights) or None)
        return self

    def draw(self, **call):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LoomWarning)
            return self._draw(self.pipe, **call)

    @property
    def attention(self):
        return "cross_attention_kwargs" if hasattr(self.pipe, "unet") else "joint_attention_kwargs"

    @property
    def denoiser(self):
        return "unet" if hasattr(self.pipe, "unet") else "transformer"

    @property
    def encoders(self):
        return [name for name in self.pipe._lora_loadable_modules if name != self.denoiser]

    def blocks(self):
        if self.denoiser == "unet":
            return {"down": 0.5, "mid": 0.0, "up": {"block_1": 0.25}}
        return {"transformer_blocks.0": 0.5, "single_transformer_blocks.1": 0.0}

    def embeddings(self, prompt="a red cat"):
        call = {"device": "cpu", "num_images_per_prompt": 1}
        if self.denoiser == "unet":
            call["do_classifier_free_guidance"] = True
        else:
            call |= {"prompt_2": None, "max_sequence_length": 16}
        with torch.no_grad():
            return self.pipe.encode_prompt(prompt, **call)

    def from_embeddings(self, **call):
        found = self.embeddings()
        if self.denoiser == "transformer":
            given = {"prompt_embeds": found[0], "pooled_prompt_embeds": found[1]}
        else:
            given = {"prompt_embeds": found[0], "negative_prompt_embeds": found[1]}
            if len(found) > 2:
                given |= {"pooled_prompt_embeds": found[2], "negative_pooled_prompt_embeds": found[3]}
        return self.draw(prompt=None, **given, **call)


def hotswapped(desk):
    first = {key: 2 * value for key, value in desk.loras["fog"].items()}  # without text: diffusers cannot swap that
    desk.pipe.load_lora_weights(first, adapter_name="fog")
    desk.pipe.load_lora_weights(dict(desk.loras["fog"]), adapter_name="fog", hotswap=True)
    return desk.draw()


def subfolder(desk):
    (desk.folder / "inner").mkdir(exist_ok=True)
    save_file(desk.loras["fox"], desk.folder / "inner" / "pytorch_lora_weights.safetensors")
    desk.pipe.load_lora_weights(str(desk.folder), subfolder="inner", weight_name="pytorch_lora_weights.safetensors")
    return desk.draw()


def from_folder(desk):
    save_file(desk.loras["fox"], desk.folder / "pytorch_lora_weights.safetensors")
    save_file(desk.loras["ink"], desk.folder / "checkpoint-10.safetensors")
    desk.pipe.load_lora_weights(str(desk.folder))
    return desk.draw()


def after(desk, verb, *args):
    getattr(desk.pipe, verb)(*args)
    return desk.draw()


def deleted(desk):
    desk.both().pipe.set_adapters("ink")
    desk.pipe.delete_adapters("ink")
    return desk.pipe.get_active_adapters(), desk.draw()


def switched_off_and_on(desk):
    desk.both(0.5, 0.5).pipe.disable_lora()
    off = desk.draw()
    desk.pipe.enable_lora()
    return off, desk.draw()


def by_component(desk):
    weights = {desk.denoiser: 0.5, **dict.fromkeys(desk.encoders, 0.2)}
    desk.load("fox").pipe.set_adapters("fox", [weights])
    return desk.draw()


CASES = (
    Same("`load_lora_weights(...)`, once", lambda d: d.load("fox").draw()),
    Same(
        "`load_lora_weights(...)` twice without `set_adapters`",
        lambda d: (d.load("fox", "ink").pipe.get_active_adapters(), d.draw()),
        "the one loaded last draws; the first picture says so in a `LoomWarning`",
    ),
    Same(
        "`load_lora_weights(folder)`", from_folder, "a folder with several LoRAs and none of diffusers' name is refused"
    ),
    Same("`load_lora_weights(..., subfolder=)`", subfolder),
    Same("`load_lora_weights(..., adapter_name=loaded, hotswap=True)`", hotswapped),
    Same("`load_lora_weights(..., low_cpu_mem_usage=True)`", lambda d: d.load("fox", low_cpu_mem_usage=True).draw()),
    Same("`set_adapters([a, b], [0.9, 0.5])`", lambda d: d.both(0.9, 0.5).draw()),
    Same("`set_adapters([a, b], 0.5)`", lambda d: after(d.load("fox", "ink"), "set_adapters", ["fox", "ink"], 0.5)),
    Same("`set_adapters(a, [{denoiser: 0.5, text encoders: 0.2}])`", by_component),
    Same(
        "`set_adapters(a, [{denoiser: {block: factor}}])`",
        lambda d: after(d.load("fox"), "set_adapters", "fox", [{d.denoiser: d.blocks()}]),
    ),
    Same("`get_list_adapters()`", lambda d: d.load("fox", "ink", "fog").pipe.get_list_adapters()),
    Same("`delete_adapters(the active one)`", deleted, "the first one left draws, and the next picture says so"),
    Same("`disable_lora()`, `enable_lora()`", switched_off_and_on),
    Same("`unload_lora_weights()`", lambda d: after(d.both(), "unload_lora_weights")),
    Same(
        '`cross_attention_kwargs={"scale": s}`, `joint_attention_kwargs`',
        lambda d: d.both(0.9, 0.5).draw(**{d.attention: {"scale": 0.4}}),
    ),
    Same(
        "`encode_prompt(...)`", lambda d: d.both(0.9, 0.5).embeddings()[:2], "with the text parts of the active LoRAs"
    ),
    Same(
        "`pipe(prompt_embeds=...)`",
        lambda d: d.both(0.9, 0.5).from_embeddings(),
        "a method that lets each LoRA read the prompt for itself cannot, and says so",
    ),
    Same("`pipe(..., num_images_per_prompt=2)`", lambda d: d.both().draw(num_images_per_prompt=2)),
    Same('`pipe(..., output_type="pt")`', lambda d: d.both().draw(output_type="pt")),
    Same(
        "`pipe(..., return_dict=False)`",
        lambda d: d.both().pipe(**CALL, return_dict=False, generator=seed(), **d_tokens(d))[0],
    ),
    Refused("`fuse_lora()`", lambda d: d.both().pipe.fuse_lora(), "merge", '`fusion="merge"` gives the same picture'),
    Refused("`unfuse_lora()`", lambda d: d.both().pipe.unfuse_lora(), "disable_lora", "`disable_lora()`"),
    Refused(
        "`set_lora_device([...], device)`",
        lambda d: d.both().pipe.set_lora_device(["fox"], "cpu"),
        "to\\(device\\)",
        "`pipe.to(device)`; `delete_adapters(name)` frees memory",
    ),
    Refused(
        "`enable_lora_hotswap(target_rank=)`",
        lambda d: d.pipe.enable_lora_hotswap(target_rank=8),
        "Leave this call out",
        "nothing: any rank is taken",
    ),
    Refused(
        "`load_lora_weights(..., adaptor_name=)`: a typo",
        lambda d: d.pipe.load_lora_weights(dict(d.loras["fox"]), adaptor_name="fox"),
        "Did you mean 'adapter_name'",
        "the error names the word that was meant",
    ),
    Refused(
        "`pipe(..., guidance_scal=)`: a typo",
        lambda d: d.both().draw(guidance_scal=2.0),
        "Did you mean 'guidance_scale'",
        "the error names the word that was meant",
    ),
    Refused(
        "`set_adapters(a, [{unknown: 0.5}])`",
        lambda d: d.load("fox").pipe.set_adapters("fox", [{"unett": 0.5}]),
        "does not have",
        "the error names the components",
    ),
    Refused(
        '`load_lora_weights("owner/name")` without a network',
        lambda d: d.pipe.load_lora_weights("owner/name"),
        "hub cannot be reached",
        "at once, with the reason; with a network it takes the repository's LoRA, or names them if there are several",
    ),
    Refused(
        '`from_pretrained("owner/name")` without a network',
        lambda d: FusionPipeline.from_pretrained("owner/name"),
        "no connection to the hub",
        "at once, with the reason",
    ),
    Refused(
        "`from_pretrained(..., enable_pag=True)`",
        lambda d: FusionPipeline.from_pretrained("pocket", enable_pag=True),
        "AutoPipelineForText2Image",
        "diffusers' own PAG pipeline, with the LoRAs loaded into it",
    ),
    Refused(
        "`from_pretrained(an inpainting base)`",
        lambda d: FusionPipeline.from_pretrained(inpainting_base(d.folder)),
        "fused\\(pipe, plan, adapters\\)",
        "diffusers' inpainting pipeline inside `fused(pipe, plan, adapters)`",
    ),
    Told(
        "`StableDiffusionPipeline.from_pipe(loom)`",
        lambda d: plain_class(d).from_pipe(d.both().pipe),
        "draws without fox, ink",
        "made without the LoRAs, which a `LoomWarning` says with what to do",
    ),
    Told(
        "`AutoPipelineForImage2Image.from_pipe(loom)`",
        lambda d: diffusers.AutoPipelineForImage2Image.from_pipe(d.both().pipe),
        "draws without fox, ink",
        "the same; draw with it inside `fused(other, pipe.plan(), pipe.adapters, pipe.bank)`",
    ),
    Told(
        "`save_pretrained(folder)`",
        lambda d: d.both().pipe.save_pretrained(d.folder / "saved"),
        "holds the base without fox, ink",
        "the base alone; a `LoomWarning` says so",
    ),
)


def inpainting_base(folder):
    """A base whose denoiser takes mask and masked picture beside the latents: 9 channels."""
    pipe = tiny("sd15")
    parts = {**pipe.components, "unet": nine_channels(pipe.unet)}
    made = diffusers.StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
    made.save_pretrained(folder / "inpainting")
    return folder / "inpainting"


def nine_channels(unet):
    made = type(unet).from_config({**unet.config, "in_channels": 9})
    made.load_state_dict({**unet.state_dict(), "conv_in.weight": made.conv_in.weight})
    return made.eval()


CALL = {"prompt": "a red cat", "num_inference_steps": 3, "output_type": "latent", "height": 64, "width": 64}


def seed():
    return torch.Generator().manual_seed(0)


def d_tokens(desk):
    return {} if desk.denoiser == "unet" else {"max_sequence_length": 16}


def plain_class(desk):
    return desk.pipe.diffusers_class
