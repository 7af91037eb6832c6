"""Text from files never becomes HTML of the page, whatever it holds: the rule of `lora_loom.studio.ui.markup`."""

import json
from html.parser import HTMLParser

import pytest
import torch
from jinja2 import UndefinedError
from PIL import Image

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.receipt import Receipt
from lora_loom.pipelines.errors import LoomError
from lora_loom.pipelines.forecast.examine import examine
from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.forecast.forecasts import StackForecast
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.records.record import GenerationRecord, save_png
from lora_loom.studio.templates import render, template_macros
from lora_loom.studio.ui.banner import error_banner, notice_banner
from lora_loom.studio.ui.forecast_view import failed_view, forecast_view
from lora_loom.studio.ui.gallery import Gallery, gallery_view
from lora_loom.studio.ui.gate_view import gate_view
from lora_loom.studio.ui.influence_view import influence_view
from lora_loom.studio.ui.shelf import shelf
from lora_loom.studio.ui.stack import StackRow, stack_view
from lora_loom.studio.ui.stage import stage
from lora_loom.studio.ui.words_view import words_view
from lora_loom.studio.words import UnknownWord

HOSTILE = [
    "<script>window.owned = 1</script>",
    "<img src=x onerror='window.owned=1'>",
    '"\' onmouseover=window.owned=1 x="',
    "nice ${window.owned = 1} {{value}}",
    "\\u0041 \\` ${`",
    "</style></textarea><svg onload=window.owned=1>",
    "x" * 2**20,
]
TAGS = {
    *("article", "button", "span", "img", "div", "small", "strong", "p", "ol", "ul", "li", "input", "section", "a"),
    *("dl", "dt", "dd", "mark", "details", "summary", "h2", "h3", "h4", "b", "i", "figure", "figcaption"),
}


class Elements(HTMLParser):
    """Collects the elements and attribute names of a piece of HTML."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.names = set(), set()
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}


def assert_harmless(source):
    found = Elements(source)
    assert found.tags <= TAGS
    assert not {name for name in found.names if name.startswith("on")}
    assert len(source) < 100_000


def test_a_hostile_library_and_its_pictures(tmp_path, write_lora, subtests):
    for words in HOSTILE:
        with subtests.test(words=words):
            folder = tmp_path / "loras"
            path = write_lora(folder / "bad.safetensors", metadata={"modelspec.title": words, "ss_output_name": words})
            sidecar = {
                "description": words,
                "activation text": words,
                "tags": [words],
                "category": words,
                "title": words,
            }
            path.with_suffix(".json").write_text(json.dumps(sidecar))
            (folder / "odd <b>'\" ${x} name.safetensors").write_bytes(words.encode()[:100])
            cards = AdapterLibrary([folder]).cards()
            assert_harmless(shelf(cards, tmp_path / "thumbs", chosen={"bad"}, query=""))
            by_name = {card.name: card for card in cards}
            stacked = [StackRow("bad"), StackRow(words[:300]), StackRow("bad2", sha256="0" * 64)]
            assert_harmless(stack_view(stacked, by_name, tmp_path / "thumbs", words[:1000], order_matters=True))


def test_a_hostile_record(tmp_path, subtests):
    for words in HOSTILE:
        with subtests.test(words=words):
            words = words[:15_000]
            request = GenerationRequest(
                words,
                words,
                (AdapterChoice(words[:500]),),
                base_model=words[:500],
                method=words[:500],
                settings={words: words},
            )
            record = GenerationRecord(request, created_at=words, device=words)
            save_png(Image.new("RGB", (8, 8)), record, tmp_path / "a.png")
            assert_harmless(gallery_view(Gallery(tmp_path), {}, tmp_path / "thumbs", opened="a.png"))
            job = Job("1", request, "done", "finished", 0.0, outputs=("a.png",))
            assert_harmless(stage(job, preview=None, waiting=0, picture_path=lambda name: tmp_path / name))


def test_hostile_errors_words_and_buttons(subtests):
    for words in HOSTILE:
        with subtests.test(words=words):
            assert_harmless(error_banner(LoomError(words, expected=words, found=words, remedy=words)))
            assert_harmless(error_banner({"what": words, "type": words}))
            assert_harmless(notice_banner(words, [words]))
            assert_harmless(words_view([UnknownWord(words, (words,))], [words]))
            assert_harmless(template_macros("ui/macros.html.j2").button(words, "act", title=words, value=words))


def test_hostile_names_in_forecasts_and_gates(subtests):
    for words in HOSTILE:
        with subtests.test(words=words):
            words = words[:500]
            report = examine({words: odd_adapter(1), "x": odd_adapter(2)}, {words: 0.01, "x": 1.0})
            remedies = [*enumerate(report.remedies)]
            assert remedies
            forecast = StackForecast("key", report, {words: words, "x": "x"}, (words,))
            assert_harmless(forecast_view(forecast, {}, remedies, {0}, words))
            assert_harmless(failed_view(words))
            heat = HeatMap(words, ("a", words), (0.0,), (words, "x"), (((1.0, 0.5),), ((None, 2.0),)))
            assert_harmless(gate_view(heat, {}))
            record = GenerationRecord(GenerationRequest("x"), influence={words: {"overall": 0.5, "steps": []}})
            assert_harmless(influence_view(record, {}))


def odd_adapter(seed):
    generator = torch.Generator().manual_seed(seed)
    factors = LoraFactors(torch.randn(2, 6, generator=generator), torch.randn(8, 2, generator=generator))
    receipt = Receipt("f", "f", "peft", "pocket", "", "pocket", {})
    return Adapter("f", {"mid_block.attentions.0.proj_in": factors}, {}, receipt, f"sha {seed}", {})


def test_data_is_quoted_and_what_is_none_left_out():
    pressed = template_macros("ui/macros.html.j2").button("Go", "act", id='a"b', row=0, value=None)
    assert (
        pressed
        == '<button type="button" class="loom-button" data-action="act" data-id="a&#34;b" data-row="0">Go</button>'
    )


def test_a_value_that_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="said"):
        render("ui/gate_view.html.j2", gate="", maps=[])
