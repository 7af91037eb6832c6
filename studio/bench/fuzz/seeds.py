"""What fuzzing starts from: small sound inputs of every parser, so that changes to them reach deep."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PAIR = {"lora_A.weight": (2, 4), "lora_B.weight": (4, 2)}
DOWN_UP = {"lora_down.weight": (2, 4), "lora_up.weight": (4, 2), "alpha": ()}


def seeds_of(name: str) -> Sequence[bytes]:
    """The seeds of a parser; raises KeyError for a name that is none."""
    return _SEEDS[name]()


def _reader() -> list[bytes]:
    peft = {"unet.r": 2, "unet.lora_alpha": 4, "unet.alpha_pattern": {"to_q|to_k": 8}, "unet.use_rslora": True}
    half = {"hada_w1_a": (4, 2), "hada_w1_b": (2, 4), "hada_w2_a": (4, 2), "hada_w2_b": (2, 4), "alpha": ()}
    tucker = {"hada_t1": (2, 2, 3, 3), "hada_t2": (2, 2, 3, 3), **{**half, "hada_w1_a": (2, 4), "hada_w2_a": (2, 4)}}
    dora = {"lora_A.weight": (2, 4), "lora_B.weight": (4, 2), "lora_magnitude_vector": (4,)}
    kernel = {"lora_down.weight": (2, 4, 3, 3), "lora_up.weight": (4, 2, 1, 1), "alpha": ()}
    core = {"lora_down.weight": (2, 4, 1, 1), "lora_mid.weight": (2, 2, 3, 3), "lora_up.weight": (4, 2, 1, 1)}
    return [
        _file({"unet.mid_block.to_q": PAIR, "text_encoder.layers.0.q_proj": PAIR}),
        _file({"unet.mid_block.to_q": PAIR}, {"lora_adapter_metadata": json.dumps(peft)}),
        _file({"lora_unet_mid_block_to_q": DOWN_UP, "lora_unet_mid_block_to_k": DOWN_UP}, _METADATA, dtype="F16"),
        _file({"lora_unet_mid_block_to_q": half}, dtype="BF16"),
        _file({"lora_unet_mid_block_conv": tucker}),
        _file({"lora_unet_mid_block_conv": kernel, "lora_te_layers_0_q_proj": DOWN_UP}),
        _file({"lora_unet_mid_block_conv": core}),
        _file({"lora_unet_mid_block_to_q": {"lokr_w1": (2, 2), "lokr_w2_a": (2, 1), "lokr_w2_b": (1, 2), "alpha": ()}}),
        _file({"unet.mid_block.to_q": dora}, {"ss_network_args": '{"dora_wd": "True"}'}),
        _file({"unet.mid_block._orig_mod.to_q": PAIR, "base_model.model.unet.mid_block.to_k": PAIR}),
    ]


def _metadata() -> list[bytes]:
    peft = {"r": 2, "lora_alpha": 4, "rank_pattern": {"^a.(b|c)[0-9]+$": 4}, "alpha_pattern": {"to_q": 8}}
    return [_json(_METADATA), _json({"lora_adapter_metadata": json.dumps({f"unet.{k}": v for k, v in peft.items()})})]


def _sidecars() -> list[bytes]:
    model = {"name": "Fox", "tags": ["animal"], "description": "A &amp; fox&lt;b&gt;"}
    civitai = {"model": model, "trainedWords": ["fox, red"], "baseModel": "SD 1.5"}
    return [
        _json({"title": "Fox", "activation text": "fox, red", "preferred weight": "0.8", "tags": "a, b"}),
        _json({"model_name": "Fox", "usage_tips": '{"strength": 0.7}', "civitai": civitai, "tags": ["a"]}),
        _json(civitai),
    ]


def _png() -> list[bytes]:
    from PIL import Image

    from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
    from lora_loom.studio.records.record import GenerationRecord, write_png

    region = {"x0": 0.0, "y0": 0.0, "x1": 0.5, "y1": 1.0}
    plain = GenerationRequest(prompt="a fox, red", adapters=(AdapterChoice("fox", 0.8),), seed=7)
    found: list[bytes] = []
    records = [
        GenerationRecord(plain, {"fox": "0" * 64}, passes={"full": 2}, extensions={"mark": {"bits": 8}}),
        GenerationRecord(
            GenerationRequest(prompt="two", method="switch"), influence={"fox": {"overall": 0.1, "steps": [[0, 0.1]]}}
        ),
    ]
    for record in records:
        file = io.BytesIO()
        write_png(file, Image.new("RGB", (2, 2)), record, {"loom-batch": json.dumps({"region": region})})
        found.append(file.getvalue())
    return found


def _suites() -> list[bytes]:
    text = """name = "s"
base_model = "pocket"
samples = 2
seeds = [1, 2]
library = ["loras"]
prompts = [{prompt = "a", seeds = [1]}, "b"]
lora_sets = [["fox:1", {name = "boat", weight = 0.7}], []]
methods = ["merge", {name = "switch", settings = {switch_every = [2, 5]}}]
batch_size = 2
picture_seconds = 1.5
[request]
guidance_scale = [3.0, 5.0]
"""
    table = '[prompts]\nfile = "p.csv"\nformat = "table"\nlimit = 3\nsample = 2\ncolumns = {prompt = "c"}\n'
    return [text.encode(), table.encode()]


def _prompts() -> list[bytes]:
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "id": 2, "caption": "fox"}]}
    row = {"prompt": "fox", "seed": 3, "loras": ["fox:0.5", {"name": "ink", "weight": 1}], "expected": {"a": 1}}
    return [
        b"\0a fox --n bad --w 64 --h 64 --d 7 --l 7.5 --s 20\n# no\nb\n",
        b'\1prompt,seeds,steps,mood\n"a, b","[1, 2]",20,dark\nc,,,\n',
        b"\2prompt\tseed\na\t1\n",
        b"\3" + _json(row) + b"\n" + _json({"prompt": "b", "id": "x", "method": "merge"}) + b"\n",
        b"\4" + _json(coco),
    ]


def _prompt_syntax() -> list[bytes]:
    return [
        b"an owl, <lora:owlet:0.8:0.4>, <lyco:b:unet=0.8:te=0.4>",
        b"(word:1.3) [a:b:0.5] <hypernet:x:1> BREAK <lora:a>",
    ]


def _jobs() -> list[bytes]:
    from lora_loom.pipelines.request import AdapterChoice, GenerationRequest

    request = GenerationRequest(prompt="a fox", adapters=(AdapterChoice("fox", 0.8),), method="switch")
    error = {"type": "RequestError", "what": "no"}
    return [b"\0".join((request.to_json().encode(), _json(error), _json(["a.png"])))]


def _file(modules: Mapping[str, Mapping[str, tuple[int, ...]]], metadata: Any = None, dtype: str = "F32") -> bytes:
    """A safetensors file with these parts of these modules, all small numbers."""
    import torch
    from safetensors.torch import save

    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    names = {f"{module}.{part}": shape for module, parts in modules.items() for part, shape in parts.items()}
    return save({key: torch.full(shape, 0.5, dtype=kinds[dtype]) for key, shape in names.items()}, metadata)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


_METADATA = {
    "modelspec.title": "Fox",
    "modelspec.tags": "a, b",
    "modelspec.architecture": "stable-diffusion-v1/lora",
    "ss_base_model_version": "sd_v1",
    "ss_network_args": '{"algo": "lora", "dora_wd": "False"}',
    "ss_v2": "False",
}
_SEEDS: Mapping[str, Callable[[], list[bytes]]] = {
    "reader": _reader,
    "header": _reader,
    "metadata": _metadata,
    "sidecars": _sidecars,
    "png": _png,
    "suites": _suites,
    "prompts": _prompts,
    "prompt_syntax": _prompt_syntax,
    "jobs": _jobs,
}
