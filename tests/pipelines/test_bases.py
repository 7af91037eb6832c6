"""Bases are found by name, folder, file or hub id, and anything else says what was expected."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lora_loom.pipelines.bases import defaults_of, named_bases, pipeline_class_of, resolve_base
from lora_loom.pipelines.errors import BaseModelError


def test_an_installed_name_comes_first(monkeypatch, tmp_path):
    class Entry:
        name, value = "tiny", "tiny:folder"

        def load(self):
            return lambda: tmp_path

    monkeypatch.setattr("lora_loom.pipelines.plugins.entry_points", lambda group: [Entry()])
    assert list(named_bases()) == ["tiny"]
    assert resolve_base("tiny") == str(tmp_path)
    with pytest.raises(BaseModelError, match="Did you mean 'tiny'"):
        resolve_base("tinny")


def test_folders_files_and_hub_ids_are_places(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    assert resolve_base(tmp_path) == str(tmp_path)
    assert resolve_base(file) == str(file)
    assert resolve_base("owner/some-model.v1") == "owner/some-model.v1"


def test_a_file_that_could_run_code_is_refused(tmp_path, subtests):
    for name in ["model.ckpt", "model.bin", "model"]:
        with subtests.test(name=name):
            (tmp_path / name).touch()
            with pytest.raises(BaseModelError, match="safetensors"):
                resolve_base(tmp_path / name)


def test_a_folder_names_its_pipeline(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    assert pipeline_class_of(str(tmp_path)) == "FluxPipeline"


def test_a_folder_without_a_pipeline_is_no_base(tmp_path, subtests):
    for text in [None, "{", "[]", "{}"]:
        with subtests.test(text=text):
            if text is not None:
                (tmp_path / "model_index.json").write_text(text)
            with pytest.raises(BaseModelError, match=r"model_index\.json"):
                pipeline_class_of(str(tmp_path))


def test_a_single_file_is_recognised_by_its_tensors(tmp_path):
    path = tmp_path / "sdxl.safetensors"
    tensors = {
        "model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 4, 3, 3),
        "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias": torch.zeros(8),
    }
    save_file(tensors, path)
    assert pipeline_class_of(str(path)) == "StableDiffusionXLPipeline"


def test_a_file_of_odd_shapes_is_no_base(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(BaseModelError, match="no base model that Loom runs"):
        pipeline_class_of(str(path))


def test_a_lora_is_no_base(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"unet.conv_in.lora_A.weight": torch.zeros(1)}, path)
    with pytest.raises(BaseModelError, match="chosen beside a base"):
        pipeline_class_of(str(path))


def test_a_broken_file_is_no_base(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x00" * 16)
    with pytest.raises(BaseModelError, match=r"broken\.safetensors"):
        pipeline_class_of(str(path))


@pytest.mark.filterwarnings("ignore:.*local_dir_use_symlinks")  # between diffusers and huggingface_hub
def test_a_hub_id_without_a_connection_says_so():
    with pytest.raises(BaseModelError, match="could not be fetched"):
        pipeline_class_of("owner/not-there", local_files_only=True)


def test_a_request_begins_with_what_its_family_usually_takes(tmp_path, subtests):
    cases = {
        ("StableDiffusionPipeline", 768): (30, 7.5, "float16"),
        ("StableDiffusionPipeline", 128): (20, 3.0, "float32"),
        ("StableDiffusionPipeline", 48): (20, 3.0, "float32"),  # of no width that others have
        ("StableDiffusionPipeline", 1024): (30, 7.5, "float16"),
        ("StableDiffusionPipeline", None): (30, 7.5, "float16"),  # a hub id or a single file does not tell
        ("StableDiffusionXLPipeline", 2048): (30, 5.0, "float16"),
        ("FluxPipeline", None): (28, 3.5, "bfloat16"),
        ("ZImagePipeline", None): (50, 5.0, "bfloat16"),
    }
    for place, ((name, width), expected) in enumerate(cases.items()):
        with subtests.test(name=name, width=width):
            folder = tmp_path / str(place)
            (folder / "unet").mkdir(parents=True)
            (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
            (folder / "unet" / "config.json").write_text(json.dumps({"cross_attention_dim": width}))
            found = defaults_of(folder)
            assert (found.steps, found.guidance, found.dtypes[0]) == expected
    with pytest.raises(BaseModelError):
        defaults_of(tmp_path / "gone")
