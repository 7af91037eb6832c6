"""The first minute on the pocket world: one click on an example, one on Generate, and two LoRAs are in a picture."""

import gc

import pytest

from lora_loom.studio.records.record import read_record
from lora_loom.studio.ui.launch import launch
from lora_loom.studio.ui.recipes import RECIPES

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.mark.long
def test_an_example_becomes_a_picture(browser, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    running = launch(output_dir=tmp_path / "outputs", block=False)
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    try:
        page = context.new_page()
        page.set_default_timeout(180_000)
        page.goto(running.server.url)
        page.click(f'.loom-recipes button:has-text("{RECIPES[0].title}")')
        page.wait_for_function("() => document.querySelectorAll('.loom-row').length === 2")
        assert page.locator(".loom-words").count() == 0
        page.click("#loom-generate")
        page.wait_for_selector(".loom-live")
        page.wait_for_selector('.loom-stage[data-state="done"] img')
        (picture,) = (tmp_path / "outputs").glob("*.png")
        assert read_record(picture).request == RECIPES[0].request
    finally:
        context.close()
        running.close()
        gc.collect()
