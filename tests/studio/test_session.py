"""Studio: one object draws, saves with a record, draws again the same, and never puts one LoRA in another's place."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from lora_loom.pipelines.errors import (
    AdapterFileError,
    AdapterMatchError,
    BaseModelError,
    CancelledError,
    ChangedAdapterError,
    LoomWarning,
    OutputError,
    RequestError,
    SettingError,
    UnknownAdapterError,
    UnknownMethodError,
)
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.records.record import read_record
from lora_loom.studio.session import Studio, library_roots
from lora_loom.studio.versions import contents_revision

TWO = (AdapterChoice("owlet", 1.0), AdapterChoice("crown", 0.8))


@pytest.fixture(scope="module")
def loras(tmp_path_factory, write_lora):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "owlet.safetensors", seed=1)
    write_lora(folder / "crown.safetensors", seed=2, rank=3)
    return folder


@pytest.fixture(scope="module")
def shared(tiny_pocket, loras, tmp_path_factory):
    return Studio(str(tiny_pocket), AdapterLibrary([loras]), tmp_path_factory.mktemp("outputs"), device="cpu")


@pytest.fixture
def studio(shared, tmp_path):
    shared.output_dir = tmp_path / "outputs"
    return shared


def request(studio, prompt="an owlet with a crown", **values):
    values = {"num_inference_steps": 3, "adapters": TWO, "seed": 5, **values}
    return GenerationRequest(prompt, base_model=studio.base_model, **values)


def pixels(generation):
    return np.asarray(generation.image)


@pytest.mark.parametrize("method", methods())
def test_every_method_draws_saves_and_draws_the_same_again(studio, method):
    (made,) = studio.generate(request(studio, method=method))
    record = read_record(made.path)
    assert record == made.record
    assert set(record.adapter_sha256) == {"owlet", "crown"}
    assert record.device == "cpu"
    assert record.dtype == "float32"
    assert record.base_model_revision
    assert sum(record.passes.values()) > 0
    (again,) = studio.reproduce(record, save=False)
    assert again.path is None
    assert (pixels(again) == pixels(made)).all()


def test_a_learned_gate_comes_with_its_map(studio, tmp_path):
    from lora_loom.pipelines.gating.gate_file import new_gate, save_gate
    from lora_loom.pipelines.gating.layer_map import LayerMap

    gate = new_gate("rank", LayerMap.of(studio.pipeline.unet), 16, hidden=8)
    save_gate(tmp_path / "new.safetensors", gate, base="tiny", family="pocket")
    settings = {"gate": str(tmp_path / "new.safetensors")}
    (made,) = studio.generate(request(studio, method="gated", settings=settings))
    assert made.gates.adapters == ("owlet", "crown")
    assert len(made.gates.progress) == 3
    assert len(made.gates.layers) == 4
    assert not made.gates.trained
    assert {gate for layer in made.gates.values for step in layer for gate in step} == {1.0}
    heat = read_record(made.path).heat
    assert heat == made.gates.pooled()
    (merged,) = studio.generate(request(studio))
    assert merged.gates is None
    assert merged.record.heat is None
    assert np.abs(pixels(merged).astype(int) - pixels(made)).max() <= 1  # the gate is the identity
    (without,) = studio.generate(request(studio, method="gated"), save=False)
    assert without.record.heat.layers == ()  # asked for, but this base has none


def test_a_lora_changes_the_picture(studio):
    (plain,) = studio.generate(request(studio, adapters=()), save=False)
    (with_two,) = studio.generate(request(studio), save=False)
    assert (pixels(plain) != pixels(with_two)).any()


def test_several_pictures_are_several_files_with_their_own_seeds(studio):
    made = studio.generate(request(studio, num_images_per_prompt=2))
    assert len({one.path for one in made}) == 2
    assert [read_record(one.path).seed for one in made] == [5, 6]
    assert sorted(studio.output_dir.iterdir()) == sorted(one.path for one in made)


def test_steps_are_reported_and_can_be_previewed(studio):
    previews = []
    studio.generate(
        request(studio), on_step=lambda progress: previews.append(studio.preview(progress).size), save=False
    )
    assert previews == [(32, 32)] * 3


def test_cancelling_stops_at_the_step_and_saves_nothing(studio):
    seen = []
    with pytest.raises(CancelledError):
        studio.generate(request(studio, num_inference_steps=9), lambda step: seen.append(step), lambda: len(seen) == 2)
    assert len(seen) == 2
    assert not studio.output_dir.exists()
    assert studio.generate(request(studio), save=False)


def test_bad_requests_are_explained_and_leave_no_file(studio, subtests):
    cases = [
        ({"adapters": (AdapterChoice("owlett"),)}, UnknownAdapterError, "Did you mean owlet"),
        ({"method": "merg"}, UnknownMethodError, "merg"),
        ({"method": "switch", "settings": {"switch_every": 0}}, SettingError, "from 1"),
        ({"width": 33}, RequestError, "multiple of"),
        ({"scheduler": "nonsense"}, RequestError, "nonsense"),
    ]
    for change, error, words in cases:
        with subtests.test(change=change, error=error, words=words):
            with pytest.raises(error, match=words):
                studio.generate(request(studio, **change))
            assert not studio.output_dir.exists()
            assert studio.generate(request(studio), save=False)


def test_another_base_model_is_refused(studio):
    with pytest.raises(BaseModelError, match="this studio draws with"):
        studio.generate(GenerationRequest("x", base_model="somewhere/else"))


def test_a_base_model_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(BaseModelError):
        _ = Studio("no-such-base", AdapterLibrary([]), tmp_path).pipeline


def test_bad_files_are_named(studio, loras, write_lora):
    import torch
    from safetensors.torch import save_file

    (loras / "pickle.safetensors").write_bytes(b"\x80\x04\x95 not tensors")
    key = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{key}.lora_A.weight": torch.ones(2, 999), f"{key}.lora_B.weight": torch.ones(999, 2)},
        loras / "wide.safetensors",
    )
    for name, error in (("pickle", AdapterFileError), ("wide", AdapterMatchError)):
        with pytest.raises(error, match=name):
            studio.generate(request(studio, adapters=(AdapterChoice(name),)))
    assert studio.generate(request(studio), save=False)


def test_what_fits_of_another_bases_lora_is_loaded_where_that_was_asked_for(studio, loras, write_stranger):
    write_stranger(loras / "stranger.safetensors", seed=1)
    plain, forced = AdapterChoice("stranger"), AdapterChoice("stranger", forced=True)
    with pytest.raises(AdapterMatchError) as refused:
        studio.generate(request(studio, adapters=(plain,)))
    assert refused.value.to_dict()["by_force"] == "stranger"
    with pytest.warns(LoomWarning, match="only in part"):
        (made,) = studio.generate(request(studio, adapters=(forced,)))
    record = read_record(made.path)
    assert record.request.adapters == (forced,)
    assert "stranger" in record.extensions["partial_loras"]
    (again,) = studio.reproduce(record, save=False)
    assert (pixels(again) == pixels(made)).all()
    with pytest.raises(AdapterMatchError):  # what was loaded by force is not there for who did not ask for it
        studio.generate(request(studio, adapters=(plain,)))


def test_a_lora_that_acts_only_in_part_is_in_the_record(studio, loras, write_lora):
    import torch
    from safetensors.torch import load_file, save_file

    write_lora(loras / "whole.safetensors", seed=1)
    tensors = load_file(loras / "whole.safetensors")
    save_file(tensors | {"unet.conv_norm_out.w_norm": torch.ones(8)}, loras / "partly.safetensors")
    (made,) = studio.generate(request(studio, adapters=(AdapterChoice("partly"), AdapterChoice("whole"))))
    told = read_record(made.path).extensions
    assert told.keys() == {"partial_loras"}
    assert told["partial_loras"].keys() == {"partly"}
    assert told["partial_loras"]["partly"].endswith("1 ignored (1 norm)")
    assert not studio.differences(made.record)


def test_a_full_disk_is_an_output_error_and_leaves_nothing(studio, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        studio.generate(request(studio))
    assert list(studio.output_dir.iterdir()) == []


def test_a_changed_or_missing_lora_is_named_never_replaced(tiny_pocket, tmp_path, write_lora):
    path = write_lora(tmp_path / "loras" / "owlet.safetensors", seed=1)
    studio = Studio(str(tiny_pocket), AdapterLibrary([path.parent]), tmp_path / "out", device="cpu")
    (made,) = studio.generate(request(studio, adapters=TWO[:1]))
    assert studio.differences(made.record) == []
    write_lora(path, seed=3)
    with pytest.raises(ChangedAdapterError, match="owlet has changed"):
        studio.reproduce(made.record)
    (changed,) = studio.generate(request(studio, adapters=TWO[:1]))
    assert changed.record.adapter_sha256 != made.record.adapter_sha256
    assert (pixels(changed) != pixels(made)).any()
    path.unlink()
    studio.library.scan()
    with pytest.raises(UnknownAdapterError, match="owlet"):
        studio.reproduce(made.record)


def test_a_record_of_another_base_is_a_difference(studio):
    (made,) = studio.generate(request(studio), save=False)
    other = Studio("elsewhere", studio.library, studio.output_dir)
    assert isinstance(other.differences(made.record)[0], BaseModelError)


def test_loras_stay_loaded_until_their_file_changes(studio, monkeypatch):
    import lora_loom.pipelines.adapters.load as load

    loaded = []
    original = load.load_adapter
    monkeypatch.setattr(load, "load_adapter", lambda *a, **k: loaded.append(k["name"]) or original(*a, **k))
    studio.generate(request(studio), save=False)
    studio.generate(request(studio), save=False)
    assert loaded == []


def test_one_picture_is_drawn_at_a_time(studio):
    drawing, most = [], []

    def on_step(progress):
        drawing.append(threading.get_ident())
        most.append(len(set(drawing)))
        if progress.index + 1 == progress.num_inference_steps:
            drawing.clear()

    threads = [
        threading.Thread(target=studio.generate, args=(request(studio), on_step), kwargs={"save": False})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_unknown_words_come_from_the_bases_own_tokenizer(studio):
    assert [one.word for one in studio.vocabulary.unknown("an owlet in the medow")] == ["medow"]


def test_the_revision_follows_the_contents(tmp_path):
    (tmp_path / "a.json").write_text("1")
    first = contents_revision(tmp_path)
    assert contents_revision(tmp_path) == first
    (tmp_path / "a.json").write_text("2")
    assert contents_revision(tmp_path) != first


def test_library_folders_come_from_the_caller_the_environment_and_the_pocket_world(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOM_LIBRARY", str(tmp_path))
    roots = library_roots([tmp_path.parent])
    assert roots[:2] == [tmp_path.parent, tmp_path]
    assert roots[2].name == "adapters"
    with pytest.raises(RequestError, match="is not there"):
        library_roots([tmp_path / "nothing"])


@pytest.mark.long
def test_two_threads_may_be_the_first_to_draw(tiny_pocket, tmp_path):
    script = f"""
import threading
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.session import Studio
studio = Studio({str(tiny_pocket)!r}, AdapterLibrary([]), {str(tmp_path)!r}, device="cpu")
request = GenerationRequest("x", base_model={str(tiny_pocket)!r}, num_inference_steps=1)
made = []
draw = [threading.Thread(target=lambda: made.append(studio.generate(request, save=False))) for _ in range(3)]
threads = [*draw, threading.Thread(target=lambda: studio.pipeline)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(made))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=250)
    assert done.stdout.strip().endswith("3"), done.stderr
