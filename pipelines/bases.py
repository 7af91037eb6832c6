"""Finding a base model: by its name among the installed ones, as a folder, a single file, or on the hub."""

from __future__ import annotations

import json
import re
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

from lora_loom.pipelines.errors import AdapterFileError, BaseModelError
from lora_loom.pipelines.families import of_pipeline, running
from lora_loom.pipelines.families.family import Defaults, Family
from lora_loom.pipelines.hub import only_cached
from lora_loom.pipelines.plugins import did_you_mean, named_entries

NAMES = "loom.bases"  # entry-point group: each entry is a function without arguments that returns a folder
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def named_bases() -> dict[str, EntryPoint]:
    """The bases that installed packages offer by name."""
    return named_entries("base", NAMES)


def resolve_base(base_model: str | Path) -> str:
    """Where a base model is: a folder, a .safetensors file, or a hub id of the form owner/name, unchecked.

    A name of `named_bases` comes first. Raises BaseModelError for anything else.
    """
    text = str(base_model)
    bases = named_bases()
    if text in bases:
        return str(bases[text].load()())
    path = Path(text).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise BaseModelError(
                f"{path.name} is not opened as a base model",
                expected="a .safetensors file or a diffusers folder",
                found=path.suffix or "a file without a suffix",
                remedy="Convert it: other formats can run code when they are opened.",
            )
        return str(path)
    if _HUB_ID.fullmatch(text):
        return text
    raise BaseModelError(
        f"no base model {text!r}",
        expected=f"one of {', '.join(bases) or 'none installed'}, a folder, a .safetensors file, a hub id owner/name",
        found="nothing of that name",
        remedy=did_you_mean(text, bases),
    )


def pipeline_class_of(location: str, **hub: Any) -> str:
    """The name of the diffusers pipeline that a base was saved for; `hub` is passed on for hub ids (revision, token).

    Raises BaseModelError when there is no such base or it is no pipeline.
    """
    path = Path(location)
    if path.is_file():
        return _class_of_file(path)
    if not path.is_dir():
        return _class_on_hub(location, hub)
    index = path / "model_index.json"
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(
            f"{path} is not a base model",
            expected="a diffusers folder with a model_index.json that names a pipeline",
            found=f"{type(error).__name__}: {error}",
        ) from error


def defaults_of(base_model: str | Path) -> Defaults:
    """What a request to this base begins with, and the types of its weights, as its family has them.

    Raises BaseModelError where there is no such base; what is of no family has defaults of nobody's.
    """
    location = resolve_base(base_model)
    drawing = [family for family in of_pipeline(pipeline_class_of(location)) if family.runs]
    if len(drawing) > 1:  # one pipeline, several widths
        width = _context_width(Path(location))
        drawing.sort(key=lambda family: _distance(family, width))
    return drawing[0].defaults if drawing else Defaults()


def _distance(family: Family, width: int | None) -> int:
    """How far a base with that width of text is from the family; of an unknown one, a single file's family is near."""
    if width is None:
        return 0 if family.single_file else 1
    if any(width in sign.widths for sign in family.evidence):
        return 0
    return 1 if any(sign.any_width for sign in family.base) else 2


def _context_width(folder: Path) -> int | None:
    try:
        return json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))["cross_attention_dim"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _class_of_file(path: Path) -> str:
    import torch
    from diffusers.loaders import single_file_utils as single_file

    from lora_loom.pipelines.adapters.limits import GIB, Limits
    from lora_loom.pipelines.adapters.safetensors_file import read_header

    try:
        shapes = read_header(path, Limits(file_bytes=200 * GIB)).shapes
    except AdapterFileError as error:
        raise BaseModelError(f"{path.name} cannot be opened", found=str(error)) from error
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    try:
        kind: str = cast("Any", single_file).infer_diffusers_model_type(weights)
    except (IndexError, KeyError):  # it looks at axes that a checkpoint of these names would have
        kind = "tensors of unusual shapes"
    starts = ("model.diffusion_model.", *(start for family in running() for start in family.checkpoint))
    known = any(key.startswith(starts) for key in shapes)
    drawing = {word: family.pipelines.text for family in running() for word in family.single_file}
    if not known or kind not in drawing:
        raise BaseModelError(
            f"{path.name} holds no base model that Loom runs",
            expected=f"a checkpoint of {', '.join(family.title for family in running() if family.single_file)}",
            found=kind if known else "a file without a denoiser",
            remedy="A LoRA is chosen beside a base, not as one." if any("lora" in key for key in shapes) else "",
        )
    return drawing[kind]


def _class_on_hub(location: str, hub: dict[str, Any]) -> str:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    pipeline: Any = DiffusionPipeline
    cached = only_cached()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # diffusers hands the hub's client options that it no longer takes
            config = pipeline.load_config(location, **({**hub, "local_files_only": True} if cached else hub))
        return str(config["_class_name"])
    except (OSError, ValueError, KeyError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BaseModelError(
            f"the base model {location} could not be fetched",
            expected="a hub id of a diffusers pipeline, and a connection or a cached copy",
            found="no connection to the hub, and no copy on this machine" if cached else why,
            remedy="Connect, or download the model elsewhere and give its folder."
            if cached
            else "Check the id, or download the model and give its folder.",
        ) from error
