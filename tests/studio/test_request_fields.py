"""Every field of a request goes through every door of Loom and comes back; one that a door forgets fails here."""

import csv
import gc
import json
import re
from dataclasses import fields
from types import SimpleNamespace

import gradio as gr
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from lora_loom.pipelines.request import ALWAYS_WRITTEN, AdapterChoice, GenerationRequest, declared_fields
from lora_loom.pipelines.requests.adapter_choice import choice_fields
from lora_loom.pipelines.requests.control import Region
from lora_loom.studio import session
from lora_loom.studio.batch.grid import pictures_of
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.prompts.prompt_row import SHORT
from lora_loom.studio.batch.suite import read_suite
from lora_loom.studio.cli import generate
from lora_loom.studio.cli.request_flags import lora_flags, request_flags
from lora_loom.studio.records.a1111 import SAMPLERS, parameters
from lora_loom.studio.records.record import GenerationRecord, read_record, save_png
from lora_loom.studio.ui import form
from lora_loom.studio.ui.compose_layout import lay_out
from lora_loom.studio.ui.controls import summary
from lora_loom.studio.ui.form import form_fields, lost_in_form, read_draft, read_form, stack_of, write_form
from lora_loom.studio.ui.gallery import Gallery, gallery_view, restored_notice
from lora_loom.studio.ui.stack import read_stack, write_stack

# Gradio leaves the event loop that it makes for a page to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
NAMES = [item.name for item in fields(GenerationRequest)]
OF_LORAS = [item.name for item in fields(AdapterChoice)]
FULL = AdapterChoice(
    "ink", 0.5, {"style": 0.25}, ((0.0, 0.0), (0.5, 1.0)), Region(box=(0.0, 0.0, 0.5, 1.0), prompt="a hill")
)
SAMPLES = {"prompt": "an owl, at night", "adapters": (FULL,), "method": "switch", "settings": {"switch_every": 3}}
LORA_SAMPLES = {item.name: getattr(FULL, item.name) for item in fields(AdapterChoice)[:5]} | {"exempt": True}
LORA_TEXTS = {"blocks": "style=0.25", "curve": "0=0,0.5=1", "region": "0,0,0.5,1:a hill"}  # on the command line
LIBRARY = SimpleNamespace(find=lambda name: SimpleNamespace(problem="", sha256="a" * 64))


def sample(declared, place):
    """A value that is not the default and differs from that of a neighbour."""
    low = -1e6 if declared.minimum is None else declared.minimum
    high = 1e6 if declared.maximum is None else declared.maximum
    match declared.kind:
        case "integer":
            return int(next(each for each in range(int(max(low, 0)), int(high) + 1) if each >= min(24 + place, high)))
        case "number":
            return next(each for each in (0.7, low + 0.3 * (high - low)) if low <= each <= high)
        case "switch":
            return not declared.default
        case "choice":
            return next(each for each in declared.choices if each != declared.default)
        case "text":
            return declared.suggestions[-2] if declared.suggestions else f"words, for {declared.name}"
    raise AssertionError(f"{declared.name} is no plain value: give it one in SAMPLES")


def varied(name):
    """A request in which the field is not at its default, nor are those that share its flag."""
    declared = declared_fields()
    alike = [each for each in declared.values() if each.flag == declared[name].flag]
    values = {each.name: SAMPLES.get(each.name) or sample(each, place) for place, each in enumerate(alike)}
    method = {"method": "switch"} if name == "settings" else {}
    settings = {"settings": {"switch_every": 5}} if name == "method" else {}  # as the form fills them in
    return GenerationRequest(**{"prompt": "a fox", **method, **settings, **values})


def through_json(value):
    return json.loads(json.dumps(value))


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What `loom generate` asks the studio for, given its options."""
    seen = []

    class StandIn:
        output_dir = tmp_path

        def __init__(self, *_args, **_more):
            pass

        def generate(self, request, *_args, **_more):
            seen.append(request)
            return []

    monkeypatch.setattr(session, "Studio", StandIn)
    monkeypatch.setattr(session, "library_roots", lambda folders=(): [])
    app = typer.Typer()
    app.command()(generate.command)

    def run(*options):
        result = CliRunner().invoke(app, list(map(str, options)))
        assert result.exit_code == 0, (result.output, result.exception)
        return seen.pop()

    return run


@pytest.fixture
def planned(tmp_path):
    """The requests of a suite, given as TOML, through its manifest."""

    def requests(text):
        path = tmp_path / "suite.toml"
        path.write_text(text)
        pictures = pictures_of(read_suite(path), LIBRARY)
        return [Picture.from_dict(through_json(picture.to_dict())).request for picture in pictures]

    return requests


@pytest.mark.parametrize("name", NAMES)
def test_each_field_is_declared(name):
    declared, request = declared_fields()[name], varied(name)
    assert declared.label
    assert declared.help.endswith((".", "..."))
    assert getattr(request, name) != declared.default
    if declared.kind == "number":
        assert declared.help.count("{default}") == 1


@pytest.mark.parametrize("name", NAMES)
def test_json(name):
    request = varied(name)
    assert GenerationRequest.from_json(request.to_json()) == request
    assert (name in GenerationRequest("a fox").to_dict()) == (name in ALWAYS_WRITTEN)


def options_of(request, name):
    if name == "adapters":
        yield from ("--lora", f"{FULL.name}:{FULL.strength}")
        yield from (part for each, text in LORA_TEXTS.items() for part in (f"--lora-{each}", f"{FULL.name}:{text}"))
    elif name == "settings":
        yield from ("--method", "switch", "--set", "switch_every=3")
    elif name == "method":
        yield from ("--method", "switch", "--switch-every", "5")
    elif name != "prompt":
        members = next(each for each in request_flags().values() if name in [one.name for one in each])
        values = [getattr(request, each.name) for each in members]
        flag = members[0].flag
        if members[0].kind == "switch":
            yield f"--{flag}" if values[0] else f"--no-{flag}"
        else:
            yield from (f"--{flag}", "x".join(map(str, values)))


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line(asked, name):
    request = varied(name)
    assert asked(request.prompt, *options_of(request, name)) == request


def in_suite(request, name):
    """The line of a suite that gives the field, and what it says of the requests."""
    value = getattr(request, name)
    quoted = json.dumps(value if not isinstance(value, dict) else {}, default=str)
    return {
        "prompt": f"prompts = [{quoted}]",
        "adapters": f"lora_sets = [[{toml(through_json(FULL.to_dict()))}]]",
        "method": 'methods = [{name = "switch", settings = {switch_every = 5}}]',
        "settings": 'methods = [{name = "switch", settings = {switch_every = 3}}]',
        "base_model": f"base_model = {quoted}",
        "seed": f"seeds = [{quoted}]",
    }[name]


def toml(value):
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(each)}' for key, each in value.items())}}}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


@pytest.mark.parametrize("name", NAMES)
def test_a_suite(planned, name):
    declared, request = declared_fields()[name], varied(name)
    prompts = "" if name == "prompt" else 'prompts = ["a fox"]\n'
    if name == "num_images_per_prompt":  # pictures of a batch are planned one by one
        assert declared.suite == "samples"
        assert len(planned(f"{prompts}samples = 3")) == 3
        return
    text = f"[request]\n{name} = [{toml(getattr(request, name))}]" if declared.axis else in_suite(request, name)
    assert declared.axis or text.startswith(declared.suite)
    assert [getattr(each, name) for each in planned(prompts + text)] == [getattr(request, name)]


COLUMNS = {"prompt": "prompt", "adapters": "loras", "seed": "seed"}
NO_COLUMN = {"base_model": "a batch has one", "num_images_per_prompt": "pictures are planned one by one, by n"}


COLUMNS_OF = [(name, COLUMNS.get(name, name)) for name in NAMES if name not in NO_COLUMN]
COLUMNS_OF += [(name, short) for short, name in SHORT.items() if name in NAMES]


@pytest.mark.parametrize(("name", "column"), COLUMNS_OF)
def test_a_column_of_prompts(planned, tmp_path, name, column):
    value = getattr(varied(name), name)
    value_in_row = [FULL.to_dict()] if name == "adapters" else dict(value) if name == "settings" else value
    row = {"prompt": "a fox"} | ({"method": "switch"} if name == "settings" else {}) | {column: value_in_row}
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    with (tmp_path / "p.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow({key: each if isinstance(each, str) else json.dumps(each) for key, each in row.items()})
    for file in ("p.jsonl", "p.csv"):
        assert [getattr(each, name) for each in planned(f'prompts = "{file}"')] == [value]


@pytest.mark.parametrize("name", NAMES)
def test_the_form(name):
    request = varied(name)
    kept = through_json({**read_draft({}), **write_form(request)})
    stacked = read_stack(through_json(write_stack(stack_of(GenerationRecord(request)))))
    assert read_form(read_draft(kept), stacked, request.base_model) == request
    assert lost_in_form(request) == []


def test_the_page_has_a_component_for_each_field_of_the_form():
    with gr.Blocks(analytics_enabled=False) as page:
        controls = lay_out().controls
    del page
    assert form_fields().keys() <= controls.keys()
    for name, declared in form_fields().items():
        assert controls[name].label == declared.label
        assert controls[name].value == declared.at_start
    ids = [component.elem_id for component in controls.values()]
    assert len(set(ids)) == len(ids)
    gc.collect()  # while the warnings about Gradio's loops are still ignored


@pytest.mark.parametrize("name", NAMES)
def test_a_record_and_its_picture(tmp_path, name):
    record = GenerationRecord(varied(name))
    assert GenerationRecord.from_dict(through_json(record.to_dict())) == record
    assert read_record(save_png(Image.new("RGB", (8, 8)), record, tmp_path / "x.png")) == record


@pytest.mark.parametrize("name", [name for name, each in declared_fields().items() if "a1111" in each.names])
def test_the_parameters_of_other_programs(name):
    request, key = varied(name), declared_fields()[name].names["a1111"]
    size = {"width": request.width or 8, "height": request.height or 8}
    text = parameters(request, {"ink": "a" * 64}, seed=request.seed, **size, version="1")
    value = getattr(request, name)
    expected = {
        "prompt": f"{value}\n",
        "negative_prompt": f"\nNegative prompt: {value}\n",
        "adapters": "<lora:ink:0.5>\nSteps: 20, Sampler: default",
        "scheduler": f", {key}: {SAMPLERS.get(str(value))},",
        "width": f", Size: {value}x",
        "height": f"x{value},",
    }
    said = (
        json.dumps(value)
        if isinstance(value, str) and "," in value
        else f"{value:g}"
        if name != "seed" and isinstance(value, float)
        else value
    )
    assert expected.get(name, f"{key}: {said},") in text
    assert name in ALWAYS_WRITTEN or f"{key}: " not in parameters(
        GenerationRequest("a fox"), {}, seed=0, width=8, height=8, version="1"
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_gallery(tmp_path, name):
    if not declared_fields()[name].shows("gallery"):
        return
    save_png(Image.new("RGB", (8, 8)), GenerationRecord(varied(name)), tmp_path / "x.png")
    view = gallery_view(Gallery(tmp_path), {}, tmp_path / "thumbnails", opened="x.png")
    shown = {"adapters": "ink (not in the library)", "method": "Switch", "settings": "switch every 3"}
    value = getattr(varied(name), name)
    assert shown.get(name, f"{value:g}" if isinstance(value, float) else str(value)) in re.sub(r"<[^>]*>", "", view)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_picture_is_promised_only_if_the_form_holds_the_field(monkeypatch, name):
    request = varied(name)
    record = GenerationRecord(request)
    if request.num_images_per_prompt == 1:
        assert restored_notice(record, [], lost_in_form(request))[0].endswith("the same picture again.")
    if name not in form_fields() or name == "method":
        return
    shown = {other: each for other, each in form_fields().items() if other != name}
    monkeypatch.setattr(form, "form_fields", lambda: shown)
    if name == "prompt":  # no request is made without one
        return
    title, lines = restored_notice(record, [], lost_in_form(request))
    assert "cannot be made again" in title
    assert declared_fields()[name].label in lines[0]


@pytest.mark.parametrize("name", OF_LORAS[1:])
def test_what_single_loras_take(asked, planned, name):
    value = LORA_SAMPLES.get(name, None)
    value = sample(choice_fields()[name], 0) if value is None else value
    choice = AdapterChoice("ink", **{name: value})
    request = GenerationRequest("a fox", adapters=(choice,))
    assert AdapterChoice.from_dict(through_json(choice.to_dict())) == choice
    assert choice.controlled == (name not in ("strength", "forced"))
    (row,) = read_stack(through_json(write_stack(stack_of(GenerationRecord(request)))))
    assert row.choice == choice
    assert summary(choice) or name == "strength"
    assert planned(f'prompts = ["a fox"]\nlora_sets = [[{toml(through_json(choice.to_dict()))}]]') == [
        GenerationRequest("a fox", adapters=(choice,), seed=planned('prompts = ["a fox"]')[0].seed)
    ]
    if name == "strength":
        assert asked("a fox", "--lora", "ink:0.5") == request
    else:
        assert f"lora_{name}" in lora_flags()
        text = LORA_TEXTS.get(name, "" if value is True else str(value))
        assert asked("a fox", "--lora", "ink", f"--lora-{name.replace('_', '-')}", f"ink:{text}".rstrip(":")) == request
