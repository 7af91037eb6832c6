"""A headless Chromium and a studio to drive with it.

Without a Chromium the tests are skipped and say what installs one; with LOOM_REQUIRE_BROWSER=1 they fail instead.
"""

import gc
import os
import shutil
import tempfile
import time

import pytest
from _pytest.runner import runtestprotocol

from lora_loom.pipelines import registry
from lora_loom.studio.session import Studio
from lora_loom.studio.ui import launch as launch_module
from lora_loom.studio.ui.launch import launch

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MILLISECONDS = 90_000  # longer than anything takes on a busy machine
STEP_SECONDS = 0.12  # the tiny base is too quick to be watched


class UnhurriedStudio(Studio):
    """Waits a little at every step."""

    def generate(self, request, on_step=None, cancelled=None, *, save=True, asked=None):
        def slowly(progress):
            time.sleep(STEP_SECONDS)
            if on_step is not None:
                on_step(progress)

        return super().generate(request, slowly, cancelled, save=save)


@pytest.fixture(scope="session")
def chromium():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        reason = "no Chromium on this machine; `sudo apt-get install chromium` installs it"
        if os.environ.get("LOOM_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET, env={**os.environ, "HOME": home})
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def library_folder(tmp_path_factory, write_lora):
    """Three LoRAs with previews, and one whose every text tries to run in the page."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "owlet.safetensors", title="Owlet", category="character", triggers="owlet", seed=1)
    write_lora(
        folder / "crown.safetensors", title="Crown", category="accessory", triggers="crown", strength=0.8, seed=2
    )
    write_lora(folder / "neon.safetensors", title="Neon", category="style", triggers="neon", seed=3)
    attack = "<img src=x onerror='window.owned=1'>${window.owned=1}{{value}}`"
    write_lora(folder / "attack.safetensors", title=attack, category=attack, triggers=attack)
    for name, colour in (("owlet", "orange"), ("crown", "gold")):
        Image.new("RGB", (64, 64), colour).save(folder / f"{name}.preview.png")
    return folder


@pytest.fixture(scope="session")
def studio_page(chromium, tiny_pocket, library_folder, tmp_path_factory):
    """A studio on a tiny random base, served as `loom studio` serves it."""
    outputs = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # launch sets it; put back at the end
        with pytest.MonkeyPatch.context() as tiny:  # for this page alone: other pages have the true library
            tiny.setattr(launch_module, "Studio", UnhurriedStudio)
            tiny.setattr(launch_module, "library_roots", lambda folders: [library_folder])
            running = launch(base_model=str(tiny_pocket), output_dir=outputs, block=False)
        yield running
        running.close()
        gc.collect()  # while the warnings about Gradio's loops are still ignored


@pytest.fixture
def page(browser, studio_page):
    """A fresh visit of the page; afterwards nothing was fetched from elsewhere and nothing failed in the browser."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(MILLISECONDS)
    outside, faults = [], []
    own = (studio_page.server.url, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else outside.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    visit(page, studio_page)
    yield page
    page.wait_for_function("() => window.owned === undefined")
    context.close()
    assert outside == []
    assert faults == []


@pytest.fixture
def methods():
    return registry.methods()


def visit(page, studio_page):
    page.goto(studio_page.server.url)
    page.wait_for_selector(".loom-card")


def pytest_runtest_protocol(item, nextitem):
    """Drive a page a second time when the first went wrong: a busy machine can drop a click, a fault fails twice."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(2):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
