"""A gate that was trained elsewhere draws as a contestant, and belongs to what a run is made of."""

from pathlib import Path

import numpy as np
import torch

from lora_loom.pipelines.gating.channel_gate import ChannelGate
from lora_loom.pipelines.gating.gate_file import save_gate
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.studio.testbed.contestants import Bench, contestant, gate_file
from lora_loom.studio.testbed.drawing import Sampling
from lora_loom.studio.testbed.run import Machine, kind_of
from lora_loom.studio.testbed.sets import LoraSet


def test_autolora_s_own_gate_is_a_contestant(bench: Bench, asked: LoraSet, tmp_path: Path) -> None:
    unet, path, sampling = bench.pipe.unet, tmp_path / "auto.safetensors", Sampling(1)
    gate = ChannelGate(LayerMap.of(unet), unet.config.cross_attention_dim)
    with torch.no_grad():
        gate.b.fill_(-2.0)
    save_gate(path, gate, base="pocket", family="pocket")
    text = f"gated:gate={path};trust=0"
    assert gate_file(text) == path
    assert gate_file("gated") is None
    gated, merged = (contestant(name).draw(bench, asked, [5], sampling).pictures for name in (text, "merge"))
    assert np.abs(gated.astype(int) - merged).mean() > 1
    kind = kind_of(Machine(), sampling, {1}, [path])
    assert kind["gates"] != kind_of(Machine(), sampling, {1})["gates"]
