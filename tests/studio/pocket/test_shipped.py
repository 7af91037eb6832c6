"""What is shipped with the pocket world is complete, small, and agrees with its documents and figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_loom.studio.builders import card
from lora_loom.studio.builders.ship import MOST_BYTES
from lora_loom.studio.pocket import adapters_path, base_path
from lora_loom.studio.pocket.concepts import CONCEPTS, concept, prompts, training_set
from lora_loom.studio.pocket.tokenizer import new_tokenizer
from lora_loom.studio.results import RESULTS

SHIPPED = sorted(path.stem for path in adapters_path().glob("*.safetensors"))


def test_the_base_is_small_and_has_its_card() -> None:
    assert sum(path.stat().st_size for path in base_path().rglob("*") if path.is_file()) <= MOST_BYTES
    assert (base_path() / "README.md").exists()


def test_the_shipped_tokenizer_is_the_world_s() -> None:
    from transformers import AutoTokenizer

    words = "a red bloop creature wearing a crown at sea, <t07> ink drawing"
    shipped = AutoTokenizer.from_pretrained(base_path() / "tokenizer")
    assert shipped(words).input_ids == new_tokenizer()(words).input_ids


def test_at_least_fourteen_adapters_over_five_categories() -> None:
    assert len(SHIPPED) >= 14
    assert {concept(name).category for name in SHIPPED} == {c.category for c in CONCEPTS.values()}


def test_every_adapter_has_preview_and_description(subtests: pytest.Subtests) -> None:
    for name in SHIPPED:
        with subtests.test(name=name):
            about = json.loads((adapters_path() / f"{name}.json").read_text())
            assert name in about["activation text"]
            assert about["title"] == concept(name).title
            assert (adapters_path() / f"{name}.preview.png").exists()


def test_documents_are_those_of_the_results() -> None:
    assert (base_path() / "README.md").read_text() == card.card()
    assert (RESULTS.parent / "pocket.md").read_text() == card.page()


def test_every_shipped_adapter_is_judged() -> None:
    rows = json.loads((RESULTS / "pocket_adapters.json").read_text())["rows"]
    assert {row["adapter"] for row in rows} == set(SHIPPED)


def test_training_sets_are_fixed_and_name_their_trigger() -> None:
    first, again = training_set("impy", 4), training_set("impy", 4)
    assert [caption for _, caption in first] == [caption for _, caption in again]
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for (a, _), (b, _) in zip(first, again, strict=True))
    assert all("impy creature" in caption for _, caption in first)
    assert all("neon" in prompt for prompt, _ in prompts("neon", 5))
    with pytest.raises(KeyError, match="no pocket concept named 'dragon'; known: bloop"):
        concept("dragon")


def test_a_picture_in_a_few_steps() -> None:
    from lora_loom.pipelines import FusionPipeline

    pipe = FusionPipeline.from_pretrained("pocket")
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    image = pipe("a red cat at night", num_inference_steps=4, guidance_scale=3.0, generator=generator).images[0]
    assert image.size == (pipe.unet.config.sample_size * pipe.vae_scale_factor,) * 2
    assert np.asarray(image).std() > 10


def test_result_files_have_the_house_form() -> None:
    for path in Path(RESULTS).glob("*.json"):
        held = json.loads(path.read_text())
        assert {"command", "commit", "versions", "rows"} <= set(held), path.name
        assert held["rows"], path.name


@pytest.mark.long
def test_the_shipped_gate_is_of_the_base_and_trained() -> None:
    from lora_loom.pipelines.families import FusionPipeline
    from lora_loom.pipelines.gating.gate_file import load_gate, shipped_gates

    gate = load_gate(shipped_gates()["pocket"]).gate
    pipe = FusionPipeline.from_pretrained("pocket")
    assert not gate.neutral
    assert all(
        gate.layers.knows(path, module) for path, module in pipe.unet.named_modules() if path in gate.layers.rows
    )
    drawn: list[torch.Tensor] = []
    for name in ("owlet", "city"):
        pipe.load_lora_weights(str(adapters_path() / f"{name}.safetensors"), adapter_name=name)
    pipe.set_adapters(["owlet", "city"])
    for fusion in ("merge", "gated"):
        how = {"num_inference_steps": 2, "output_type": "latent", "fusion": fusion}
        drawn.append(pipe("a purple owlet creature", generator=torch.Generator().manual_seed(0), **how).images)
    assert (drawn[0] - drawn[1]).abs().max() > 0.01
