"""The written file: all three families of header keys, sidecars, and the same effect in every loader."""

import hashlib
import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import OutputError, TrainingError
from lora_loom.pipelines.training import product
from lora_loom.pipelines.training.load_check import check_file, probe
from lora_loom.pipelines.training.lora import train_lora
from lora_loom.pipelines.training.settings import LoraDescription

CAPTION = "a red picture"
ABOUT = LoraDescription(
    title="Red Things",
    category="colours",
    description="Draws things red.",
    tags=("red", "test"),
    author="someone",
    licence="CC0-1.0",
    preferred_weight=0.8,
)


@pytest.fixture(scope="module")
def trained(make_pipe, pictures, quick, tmp_path_factory):
    """A LoRA of rank 2 with alpha 6 on all parts, stored in float32, for the weights that `pipe` has, too."""
    settings = replace(
        quick, alpha=6, targets="full", text_encoder_learning_rate=1e-2, trigger="<t00>", file_type="float32"
    )
    out = tmp_path_factory.mktemp("trained") / "red_things.safetensors"
    return train_lora(settings, pictures, make_pipe(), out, about=ABOUT)


def header(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def test_the_header_has_the_kohya_keys(trained):
    data = header(trained.path)
    assert data["ss_network_module"] == "networks.lora"
    assert (data["ss_network_dim"], data["ss_network_alpha"]) == ("2", "2")  # alpha 6 is within the weights
    assert data["ss_training_comment"] == "trained with alpha 6 at rank 2"
    assert json.loads(data["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "2"}
    assert data["ss_base_model_version"] == "loom-pocket"
    assert (data["ss_learning_rate"], data["ss_steps"], data["ss_num_train_images"]) == ("0.01", "3", "4")
    assert data["ss_output_name"] == "red_things"
    tags = json.loads(data["ss_tag_frequency"])["red_things"]
    assert tags == {f"<t00> a {name} picture": 1 for name in ("red", "green", "blue", "square")}


def test_the_header_has_the_modelspec_keys(trained):
    data = header(trained.path)
    spec = {key.removeprefix("modelspec."): value for key, value in data.items() if key.startswith("modelspec.")}
    assert spec["sai_model_spec"] == "1.0.1"
    assert spec["architecture"] == "loom-pocket/lora"
    assert (spec["title"], spec["description"], spec["author"]) == ("Red Things", "Draws things red.", "someone")
    assert (spec["trigger_phrase"], spec["tags"], spec["license"]) == ("<t00>", "red, test", "CC0-1.0")
    assert (spec["prediction_type"], spec["resolution"]) == ("epsilon", "16x16")
    assert spec["hash_sha256"] == f"0x{data['sshs_model_hash']}"


def test_the_hash_is_that_of_the_tensor_bytes(trained):
    blob = trained.path.read_bytes()
    body = blob[8 + int.from_bytes(blob[:8], "little") :]
    assert header(trained.path)["sshs_model_hash"] == hashlib.sha256(body).hexdigest()


def test_the_header_has_the_config_that_diffusers_reads(trained):
    packed = json.loads(header(trained.path)["lora_adapter_metadata"])
    assert (packed["unet.r"], packed["unet.lora_alpha"], packed["text_encoder.r"]) == (2, 2, 2)


def test_sidecar_and_preview_lie_beside_the_file(trained):
    assert json.loads(trained.path.with_suffix(".json").read_text()) == {
        "title": "Red Things",
        "category": "colours",
        "description": "Draws things red.",
        "activation text": "<t00>",
        "tags": ["red", "test"],
        "preferred weight": 0.8,
    }
    with Image.open(trained.path.with_suffix(".preview.png")) as preview:
        assert preview.size == (16, 16)


def test_diffusers_loads_it_and_weight_zero_is_the_base(trained, pipe):
    bare = probe(pipe, CAPTION, 16)
    pipe.load_lora_weights(trained.path, adapter_name="red")
    loaded = probe(pipe, CAPTION, 16)
    assert not torch.allclose(loaded, bare)
    pipe.set_adapters(["red"], [0.0])
    assert torch.equal(probe(pipe, CAPTION, 16), bare)
    pipe.unload_lora_weights()
    assert torch.equal(probe(pipe, CAPTION, 16), bare)


def test_peft_loads_it_to_the_same_prediction(trained, pipe, make_pipe):
    pipe.load_lora_weights(trained.path)
    expected = probe(pipe, CAPTION, 16)
    other = make_pipe()
    packed = json.loads(header(trained.path)["lora_adapter_metadata"])
    tensors = load_file(trained.path)
    for component in ("unet", "text_encoder"):
        config = LoraConfig(
            **{key.removeprefix(f"{component}."): it for key, it in packed.items() if key.startswith(f"{component}.")}
        )
        mine = {
            key.removeprefix(f"{component}.").removeprefix("text_model."): value
            for key, value in tensors.items()
            if key.startswith(f"{component}.")
        }
        module = getattr(other, component)
        inject_adapter_in_model(config, module, adapter_name="mine")
        outcome = set_peft_model_state_dict(module, mine, adapter_name="mine")
        assert not outcome.unexpected_keys
    torch.testing.assert_close(probe(other, CAPTION, 16), expected, atol=1e-6, rtol=1e-6)


def test_loom_loads_it_whole(trained, pipe):
    adapter = load_adapter(trained.path, name="red", target=BaseTarget.from_pipeline(pipe))
    tensors = load_file(trained.path)
    assert len(adapter.denoiser) == sum(key.startswith("unet.") and "lora_A" in key for key in tensors)
    assert set(adapter.text_encoders) == {"text_encoder"}
    path = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    expected = tensors[f"unet.{path}.lora_B.weight"] @ tensors[f"unet.{path}.lora_A.weight"]
    torch.testing.assert_close(adapter.denoiser[path].delta().reshape(16, 16), expected)


@pytest.mark.parametrize("file_type", ["float16", "bfloat16", "float32"])
def test_the_number_format_of_the_file_is_the_one_asked_for(pipe, pictures, quick, tmp_path, file_type):
    train_lora(replace(quick, file_type=file_type), pictures, pipe, tmp_path / "x.safetensors")
    kinds = {str(value.dtype) for value in load_file(tmp_path / "x.safetensors").values()}
    assert kinds == {f"torch.{file_type}"}


def test_a_file_of_another_scale_is_found_out(trained, pipe, tmp_path):
    pipe.load_lora_weights(trained.path)
    expected = probe(pipe, CAPTION, 16)
    pipe.unload_lora_weights()
    check_file(pipe, trained.path, CAPTION, 16, expected)
    doubled = {key: value * 2 for key, value in load_file(trained.path).items()}
    save_file(doubled, tmp_path / "doubled.safetensors", metadata=header(trained.path))
    with pytest.raises(TrainingError, match="does not do in the pipeline what it did in training"):
        check_file(pipe, tmp_path / "doubled.safetensors", CAPTION, 16, expected)


def test_a_lora_without_effect_is_found_out(trained, pipe, tmp_path):
    nothing = {key: torch.zeros_like(value) for key, value in load_file(trained.path).items()}
    save_file(nothing, tmp_path / "nothing.safetensors", metadata=header(trained.path))
    with pytest.raises(TrainingError, match="does not change what the base draws"):
        check_file(pipe, tmp_path / "nothing.safetensors", CAPTION, 16, probe(pipe, CAPTION, 16))


def test_the_rehearsal_finds_a_broken_writer_before_the_first_step(pipe, pictures, quick, tmp_path, monkeypatch):
    save = product.save_adapter

    def save_half(adapter, path, **options):
        part = dict(list(adapter.denoiser.items())[::2])
        return save(replace(adapter, denoiser=part), path, **options)

    monkeypatch.setattr(product, "save_adapter", save_half)
    with pytest.raises(TrainingError, match="does not do in the pipeline"):
        train_lora(quick, pictures, pipe, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_full_disk_leaves_no_lora_and_the_checkpoint(make_pipe, pictures, quick, tmp_path, monkeypatch):
    out = tmp_path / "x.safetensors"
    save = product.save_adapter

    def refuse(adapter, path, **options):
        if path == out:
            raise OutputError(f"{path} could not be written", found="No space left on device")
        return save(adapter, path, **options)

    monkeypatch.setattr(product, "save_adapter", refuse)
    with pytest.raises(OutputError, match="No space left"):
        train_lora(quick, pictures, make_pipe(), out)
    assert not out.exists()
    monkeypatch.undo()
    assert train_lora(quick, pictures, make_pipe(), out, resume=True).resumed_at == quick.steps
    assert out.exists()


@pytest.mark.long
def test_kohya_names_do_the_same(make_pipe, pictures, quick, tmp_path):
    settings = replace(quick, targets="full", text_encoder_learning_rate=1e-2, file_type="float32")
    predictions = []
    for layout in ("peft", "kohya"):
        out, pipe = tmp_path / f"{layout}.safetensors", make_pipe()
        train_lora(replace(settings, layout=layout), pictures, pipe, out)
        pipe.load_lora_weights(out)
        predictions.append(probe(pipe, CAPTION, 16))
    assert all(key.startswith(("lora_unet_", "lora_te_")) for key in load_file(tmp_path / "kohya.safetensors"))
    torch.testing.assert_close(*predictions, atol=1e-6, rtol=1e-6)
