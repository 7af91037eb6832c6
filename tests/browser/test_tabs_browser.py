"""Two tabs of one browser: each keeps its own form, its own picture and its own Cancel."""

import pytest

from tests.browser.conftest import MILLISECONDS, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # Gradio leaves its loops to the collector
]
STAGE = ".loom-stage"


def second_tab(page, studio_page):
    other = page.context.new_page()
    other.set_default_timeout(MILLISECONDS)
    visit(other, studio_page)
    return other


def compose(page, prompt, steps):
    page.fill("#loom-prompt textarea", prompt)
    field = page.locator("#loom-steps input[type=number]").first
    field.fill(str(steps))
    field.blur()
    page.wait_for_timeout(400)  # what was typed reaches the server


def begin(page):
    page.click("#loom-generate")
    page.wait_for_selector(f"{STAGE}[data-job]")
    return page.get_attribute(STAGE, "data-job")


def test_cancel_in_one_tab_leaves_the_others_picture(page, studio_page):
    compose(page, "an owlet at night", 60)
    first = begin(page)
    page.wait_for_function("() => Number(document.querySelector('.loom-stage').dataset.step) >= 1")
    other = second_tab(page, studio_page)
    other.wait_for_selector('.loom-elsewhere:has-text("being drawn")')  # it has no picture of its own
    assert other.is_disabled("#loom-cancel")
    compose(other, "a fox", 60)
    second = begin(other)
    assert second != first
    other.wait_for_selector('.loom-status:has-text("Waiting for the picture before it")')
    other.click("#loom-cancel")
    other.wait_for_selector(f'{STAGE}[data-job="{second}"][data-state="cancelled"]')
    store = studio_page.workspace.store
    assert not store.get(first).cancel_requested
    other.click("text=Show it here")
    other.wait_for_selector(f'{STAGE}[data-job="{first}"][data-state="running"]')
    other.click("#loom-cancel")
    page.wait_for_selector(f'{STAGE}[data-job="{first}"][data-state="cancelled"]')


@pytest.mark.long
def test_a_form_is_changed_in_its_own_tab_alone(page, studio_page):
    compose(page, "an owlet at night", 7)
    page.click('.loom-card[data-name="owlet"] .loom-pick')
    page.wait_for_selector('.loom-row[data-name="owlet"]')
    other = second_tab(page, studio_page)
    assert other.input_value("#loom-prompt textarea") == "an owlet at night"  # a new tab goes on from the last form
    compose(other, "a fox in the snow", 9)
    other.click('.loom-card[data-name="neon"] .loom-pick')
    other.wait_for_selector('.loom-row[data-name="neon"]')
    other.wait_for_timeout(400)
    for tab, prompt, rows in ((page, "an owlet at night", 1), (other, "a fox in the snow", 2)):
        assert tab.input_value("#loom-prompt textarea") == prompt
        tab.reload()
        tab.wait_for_selector(".loom-row")
        assert tab.input_value("#loom-prompt textarea") == prompt
        assert tab.locator(".loom-row").count() == rows


@pytest.mark.long
def test_a_duplicated_tab_has_no_picture_to_cancel(page, studio_page):
    compose(page, "an owlet at night", 60)
    job = begin(page)
    page.wait_for_function("() => sessionStorage.getItem('loom.jobs') !== null")
    with page.context.expect_page() as opened:
        page.evaluate("() => { window.open(location.href) }")  # a copy of the storage goes with it, as in duplicating
    copy = opened.value
    copy.set_default_timeout(MILLISECONDS)
    copy.wait_for_selector(".loom-card")
    assert copy.get_attribute(STAGE, "data-job") is None
    assert copy.is_disabled("#loom-cancel")
    page.reload()
    page.wait_for_selector(f'{STAGE}[data-job="{job}"]')
    page.click("#loom-cancel")
    page.wait_for_selector(f'{STAGE}[data-job="{job}"][data-state="cancelled"]')
