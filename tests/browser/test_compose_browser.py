"""The Compose tab as a person meets it: pick, write, generate, watch, cancel, reload, restore, and get things wrong."""

import re
import time

import pytest

from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.records.record import read_record

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # Gradio leaves its loops to the collector
]
PROMPT = "an owlet with a crown at night"
SHOWN = """() => JSON.stringify({
    banner: document.querySelector('.loom-banner')?.innerText,
    stage: {...document.querySelector('.loom-stage')?.dataset},
    method: document.querySelector('#loom-method input:checked')?.value,
    width: document.querySelector('#loom-Width input[type=number]')?.value})"""
DONE = '.loom-stage[data-state="done"]'
BUSY = '.loom-stage[data-state="running"]'


def pick(page, *names):
    for name in names:
        page.click(f'.loom-card[data-name="{name}"] .loom-pick')
        page.wait_for_selector(f'.loom-row[data-name="{name}"]')


def set_number(page, elem_id, value):
    field = page.locator(f"#{elem_id} input[type=number]").first
    field.fill(str(value))
    field.blur()


def choose_method(page, name):
    page.click(f'#loom-method label:has-text("{methods()[name].title}")')
    page.wait_for_function(
        "words => document.querySelector('#loom-method-help').innerText.includes(words)",
        arg=methods()[name].when_to_use[:30],
    )


def compose(page, *, steps, prompt=PROMPT):
    page.fill("#loom-prompt textarea", prompt)
    set_number(page, "loom-steps", steps)


def settle(page):
    """Let what was typed reach the server."""
    page.wait_for_timeout(400)


def generate(page):
    """Press Generate and return the id of the new job as soon as the page shows it."""
    stage = page.locator(".loom-stage")
    before = stage.get_attribute("data-job")
    page.click("#loom-generate")
    page.wait_for_function("job => (document.querySelector('.loom-stage').dataset.job ?? null) !== job", arg=before)
    return stage.get_attribute("data-job")


def finish(page, studio_page, job):
    """Wait for the job's picture on the page and return its record."""
    page.wait_for_selector(f'{DONE}[data-job="{job}"]')
    page.wait_for_function("() => document.querySelector('.loom-result img')?.naturalWidth > 0")
    (name,) = studio_page.workspace.store.get(job).outputs
    page.wait_for_selector(f'.loom-tile[data-name="{name}"] img')
    return read_record(studio_page.workspace.studio.output_dir / name)


def banner(page, words):
    try:
        page.wait_for_function("words => document.querySelector('.loom-banner')?.innerText.includes(words)", arg=words)
    except Exception as error:
        error.add_note(f"instead of {words!r} the page shows: {page.evaluate(SHOWN)}")
        raise


@pytest.mark.parametrize(
    "names", [("merge", "arbiter"), pytest.param(tuple(methods()), marks=pytest.mark.long)], ids=len
)
def test_two_loras_are_composed_with_every_method(page, studio_page, subtests, names):
    pick(page, "owlet", "crown")
    first, *others = names
    compose(page, steps=24)
    choose_method(page, first)
    settle(page)
    assert previews_of(page, studio_page, first) >= 2
    compose(page, steps=3)
    for method in others:
        with subtests.test(method=method):
            choose_method(page, method)
            settle(page)
            composed_with(page, studio_page, method, 3, generate(page))


def previews_of(page, studio_page, method):
    """Press Generate, follow the picture until it is there, and return how many previews of it were shown."""
    job = generate(page)
    page.wait_for_selector(f"{BUSY} .loom-live")
    words, previews = set(), set()
    while page.locator(BUSY).count():
        words.add(page.evaluate("() => document.querySelector('.loom-status')?.innerText ?? ''"))
        previews.add(page.evaluate("() => document.querySelector('.loom-live')?.src ?? ''"))
        page.wait_for_timeout(100)
    assert any(re.match(r"Step \d+ of 24\s+about [\d.]+ s left", status) for status in words), words
    composed_with(page, studio_page, method, 24, job)
    return len(previews - {""})


def composed_with(page, studio_page, method, steps, job):
    record = finish(page, studio_page, job)
    assert record.request.method == method
    assert record.request.adapters == (AdapterChoice("owlet", 1.0), AdapterChoice("crown", 0.8))
    assert record.request.prompt == PROMPT
    assert record.request.num_inference_steps == steps


def test_a_reload_finds_the_running_picture_and_the_form_and_cancels(page, studio_page):
    pick(page, "owlet", "neon")
    compose(page, steps=60)
    settle(page)
    job = generate(page)
    page.wait_for_function("() => Number(document.querySelector('.loom-stage').dataset.step) >= 2")
    page.reload()
    page.wait_for_selector(f'{BUSY}[data-job="{job}"]')
    assert page.input_value("#loom-prompt textarea") == PROMPT
    assert page.locator(".loom-row").count() == 2
    step = int(page.get_attribute(BUSY, "data-step"))
    page.wait_for_function("step => Number(document.querySelector('.loom-stage').dataset.step) > step", arg=step)
    page.click("#loom-cancel")
    page.wait_for_selector(f'.loom-stage[data-job="{job}"][data-state="cancelled"]')
    ended = studio_page.workspace.store.get(job)
    assert ended.state == "cancelled"
    assert ended.step < 60
    assert ended.outputs == ()
    page.wait_for_function("() => document.querySelector('#loom-cancel').disabled")


@pytest.mark.long
def test_the_gallery_survives_a_reload_and_gives_its_settings_back(page, studio_page):
    pick(page, "crown")
    choose_method(page, "switch")
    set_number(page, "loom-setting-switch-switch_every", 3)
    set_number(page, "loom-seed", 77)
    compose(page, steps=2, prompt="a red cat, crown")
    settle(page)
    finish(page, studio_page, generate(page))
    name = page.locator(".loom-tile").first.get_attribute("data-name")

    page.fill("#loom-prompt textarea", "something else")
    settle(page)
    page.reload()
    page.wait_for_selector(f'.loom-tile[data-name="{name}"] img')
    assert page.input_value("#loom-prompt textarea") == "something else"
    page.click(f'.loom-tile[data-name="{name}"]')
    page.wait_for_selector('.loom-detail:has-text("a red cat, crown")')
    page.click("text=Use these settings")
    banner(page, "Settings restored")
    assert page.input_value("#loom-prompt textarea") == "a red cat, crown"
    assert page.input_value("#loom-seed input") == "77"
    assert page.input_value("#loom-setting-switch-switch_every input") == "3"
    assert page.locator(".loom-row").count() == 1
    page.click(".loom-banner .loom-icon")
    page.wait_for_selector(".loom-banner", state="detached")


def test_a_dropped_picture_restores_its_settings_and_names_what_is_missing(
    page, studio_page, library_folder, write_lora
):
    studio = studio_page.workspace.studio
    path = write_lora(library_folder / "passing.safetensors", title="Passing", seed=9)
    choices = (AdapterChoice("owlet", 0.5), AdapterChoice("passing"))
    request = GenerationRequest(
        "an owlet", adapters=choices, base_model=studio.base_model, num_inference_steps=2, seed=3
    )
    (made,) = studio.generate(request)
    page.set_input_files("#loom-restore input[type=file]", made.path)
    banner(page, "Generate makes the same picture again")
    again = finish(page, studio_page, generate(page))
    assert again.request == request

    path.unlink()
    page.set_input_files("#loom-restore input[type=file]", made.path)
    banner(page, "cannot be made again")
    banner(page, "passing")
    page.wait_for_selector('.loom-row.loom-missing[data-name="passing"]')
    page.click("#loom-generate")
    banner(page, "There is no LoRA called passing")


def test_a_dropped_file_that_is_no_picture_of_ours_is_explained(page, tmp_path):
    (tmp_path / "other.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page.set_input_files("#loom-restore input[type=file]", tmp_path / "other.png")
    banner(page, "other.png")


@pytest.mark.long
def test_what_is_wrong_is_said_and_the_studio_stays_alive(page, studio_page):
    page.click("#loom-generate")
    banner(page, "The prompt is empty")
    compose(page, steps=2)
    choose_method(page, "switch")
    set_number(page, "loom-setting-switch-switch_every", 0)
    settle(page)
    page.click("#loom-generate")
    banner(page, "from 1 to 100")
    choose_method(page, "merge")
    page.click("#loom-more button")
    set_number(page, "loom-Width", 33)
    settle(page)
    page.click("#loom-generate")
    banner(page, "a multiple of")  # only the loaded base knows, so the job fails and its error is shown
    set_number(page, "loom-Width", 32)
    settle(page)
    assert finish(page, studio_page, generate(page)).request.width == 32
    assert page.locator(".loom-banner").count() == 0


@pytest.mark.long
def test_unknown_words_are_pointed_out_and_replaced(page):
    page.fill("#loom-prompt textarea", "a cat in the medow")
    page.click('.loom-words button:has-text("meadow")')
    page.wait_for_selector(".loom-words", state="detached")
    assert page.input_value("#loom-prompt textarea") == "a cat in the meadow"


@pytest.mark.long
def test_shelf_search_filter_and_trigger_words(page):
    page.fill("#loom-search input, #loom-search textarea", "crow")
    page.wait_for_function("() => document.querySelectorAll('.loom-card').length === 1")
    page.click('.loom-card[data-name="crown"] .loom-trigger')
    page.wait_for_function("() => document.querySelector('#loom-prompt textarea').value === 'crown'")
    page.fill("#loom-search input, #loom-search textarea", "")
    page.click('.loom-pill[data-value="style"]')
    page.wait_for_function("() => document.querySelectorAll('.loom-card').length === 1")
    assert page.locator('.loom-card[data-name="neon"]').count() == 1


def test_the_stack_is_edited(page, studio_page):
    pick(page, "owlet", "crown", "neon")
    assert page.locator('.loom-card[aria-pressed="true"], .loom-card .loom-pick[aria-pressed="true"]').count() == 3
    page.click('.loom-row[data-name="neon"] [data-action="up"]')
    page.wait_for_function("() => document.querySelectorAll('.loom-row')[1].dataset.name === 'neon'")
    page.click('.loom-row[data-name="crown"] [data-action="remove"]')
    page.wait_for_selector('.loom-row[data-name="crown"]', state="detached")
    page.click('.loom-row[data-name="owlet"] .loom-switch')
    page.wait_for_selector('.loom-row.loom-off[data-name="owlet"]')
    number = page.locator('.loom-row[data-name="neon"] input[type=number]')
    number.fill("1.35")
    number.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.loom-row')[1].querySelector('input').value === '1.35'")
    compose(page, steps=2)
    settle(page)
    record = finish(page, studio_page, generate(page))
    assert record.request.adapters == (AdapterChoice("neon", 1.35),)


@pytest.mark.long
def test_quick_clicks_are_all_counted(page):
    for name in ("owlet", "crown", "neon"):
        page.locator(f'.loom-card[data-name="{name}"] .loom-pick').dispatch_event("click")
    page.wait_for_function("() => document.querySelectorAll('.loom-row').length === 3")


@pytest.mark.long
def test_a_click_takes_back_what_was_done_to_the_stack(page):
    pick(page, "owlet", "crown")
    page.click('.loom-row[data-name="owlet"] [data-action=remove]')
    page.wait_for_function("() => document.querySelectorAll('.loom-row').length === 1")
    page.click("#loom-undo")
    page.wait_for_selector('.loom-row[data-name="owlet"]')
    for left in (1, 0):
        page.click("#loom-undo")
        page.wait_for_function("left => document.querySelectorAll('.loom-row').length === left", arg=left)
    page.wait_for_selector("#loom-undo:disabled")


def test_hostile_texts_are_shown_as_they_are(page):
    pick(page, "attack")
    title = page.locator('.loom-row[data-name="attack"] .loom-title').inner_text()
    assert title.startswith("<img src=x onerror=")
    assert page.evaluate("() => window.owned") is None


def test_nothing_sticks_out_at_any_width(page):
    for width in (1400, 1000, 800, 480, 390):
        page.set_viewport_size({"width": width, "height": 900})
        time.sleep(0.3)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.locator("#loom-generate").is_visible()


@pytest.mark.long
def test_a_lora_is_told_where_when_and_in_which_layers_to_act(page, studio_page):
    pick(page, "owlet", "crown")
    row = page.locator('.loom-row[data-name="owlet"]')
    row.locator(".loom-expand").click()
    row.get_by_role("slider", name="Style: Owlet").fill("0.5")
    page.wait_for_selector('.loom-row[data-name="owlet"] input[type=number][data-name="style"][value="0.5"]')
    row.locator('.loom-pill[data-value="late"]').click()
    row.locator(".loom-curve svg").wait_for()
    row.locator('.loom-pill[data-value="box"]').click()
    row.locator("canvas[data-tool=drag]").wait_for()
    stroke(page, row, (0.1, 0.2), (0.6, 0.9))
    page.wait_for_function("() => document.querySelector('[data-action=side][data-name=left]').value == 10")
    other = page.locator('.loom-row[data-name="crown"]')
    other.locator(".loom-expand").click()
    other.locator('.loom-pill[data-value="paint"]').click()
    other.locator("canvas[data-tool=paint]").wait_for()
    blank = other.locator(".loom-sheet img").get_attribute("src")
    stroke(page, other, (0.1, 0.5), (0.4, 0.5))
    page.wait_for_function("src => document.querySelector('[data-name=crown] .loom-sheet img').src !== src", arg=blank)
    words = other.locator("input[data-action=words]")
    words.fill("a crown at night")
    words.blur()
    other.locator(".loom-expand").click()
    page.wait_for_function(
        "() => document.querySelector('[data-name=crown] .loom-expand').innerText.includes('a crown at night')"
    )
    page.reload()
    page.wait_for_selector('.loom-row[data-name="owlet"] .loom-details')
    compose(page, steps=3)
    settle(page)
    record = finish(page, studio_page, generate(page))
    owlet, crown = record.request.adapters
    assert dict(owlet.blocks) == {"style": 0.5}
    assert owlet.curve == ((0.4, 0.0), (0.5, 1.0))
    assert owlet.region.box == pytest.approx((0.1, 0.2, 0.6, 0.9), abs=0.02)
    assert crown.region.prompt == "a crown at night"
    mask = crown.region.image()
    assert mask.getpixel((mask.width // 4, mask.height // 2)) == 255
    assert mask.getpixel((3 * mask.width // 4, mask.height // 2)) == 0


@pytest.mark.long
def test_the_forecast_comes_by_itself_and_its_remedy_is_one_click(page):
    pick(page, "owlet", "crown")
    page.wait_for_selector(".loom-forecast .loom-pairs li")
    number = page.locator('.loom-row[data-name="owlet"] input[type=number]')
    number.fill("0.05")
    number.press("Enter")
    page.click('.loom-remedies li:has-text("Even out the strengths") button')
    page.wait_for_function("() => Number(document.querySelector('[data-name=owlet] input[type=number]').value) > 0.1")
    page.wait_for_function("() => !document.querySelector('.loom-forecast').innerText.includes('drowns')")
    page.click('.loom-row[data-name="crown"] [data-action="remove"]')
    page.wait_for_selector(".loom-forecast", state="detached")


def stroke(page, row, start, end):
    """Draw from one place of a row's canvas to another."""
    canvas = row.locator("canvas")
    canvas.scroll_into_view_if_needed()
    frame = canvas.bounding_box()
    first, last = ((frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]) for x, y in (start, end))
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*last, steps=4)
    page.mouse.up()
