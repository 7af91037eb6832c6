"""M-gated: floating-point operations of one call with a gate over those of the plain sum, 8 adapters of rank 16."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lora_loom.pipelines.gating.gate_file import Kind, new_gate
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.gating.rule import GateRule
from lora_loom.studio.bench.clock import Estimate
from lora_loom.studio.bench.counting import Work, count
from lora_loom.studio.bench.loom_side import LoomSide, plan_of
from lora_loom.studio.bench.random_loras import RANK, random_loras, strengths
from lora_loom.studio.bench.rows import Row, row
from lora_loom.studio.bench.subjects import SDXL, Subject

ADAPTERS = 8
LINE = 1.03


@dataclass(frozen=True)
class Counts:
    """Of one call: of the plain sum, and under the gate."""

    merge: Work
    gated: Work


def measure(quick: bool) -> list[Row]:
    rows: list[Row] = []
    lines: dict[Kind, float | None] = {"rank": LINE, "channel": None}
    for kind, line in lines.items():
        found = counts(SDXL, kind)
        what = f"of a {kind} gate over merge, {SDXL.title}, {ADAPTERS} adapters of rank {RANK}, one call"
        flops = Estimate.exact(found.gated.flops / found.merge.flops)
        kernels = Estimate.exact(found.gated.kernels / found.merge.kernels)
        rows.append(row(f"gated.{kind}.flops", f"FLOPs {what}", flops, anchor=1.0, line=line))
        rows.append(row(f"gated.{kind}.kernels", f"kernels {what}", kernels, anchor=1.0, line=None))
    return rows


def counts(subject: Subject, kind: Kind, adapters: int = ADAPTERS, rank: int = RANK) -> Counts:
    """Count on the meta device, after the call that stacks the factors once for a set of adapters."""
    unet, inputs = subject.build("meta"), subject.inputs("meta")
    loras = random_loras(unet, adapters, rank)
    plan = plan_of("merge", strengths(list(loras)))
    gate = new_gate(kind, LayerMap.of(unet), subject.config["cross_attention_dim"], hidden=24).to("meta")
    found: list[Work] = []
    side = LoomSide(unet, loras)
    for rule in (None, GateRule(lambda site: gate)):
        with side.running(replace(plan, layer_rule=rule), inputs) as call:
            call()
            found.append(count(call))
    return Counts(*found)
