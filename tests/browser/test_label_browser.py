"""The Label tab as a person meets it: start, answer, save, and go on after a reload."""

import json

import pytest
from PIL import Image

from lora_loom.studio.evaluation.labels.book import LabelBook

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # Gradio leaves its loops to the collector
]


@pytest.fixture
def a_set(studio_page):
    """Two pictures that should show an owlet."""
    folder = studio_page.workspace.studio.output_dir / "a_set"
    folder.mkdir(exist_ok=True)
    rows = []
    for index in range(2):
        Image.new("RGB", (32, 32), (90 * index, 40, 90)).save(folder / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "prompt": f"p {index}", "expected": {"subject": "owlet"}})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def start(page, name):
    page.click('role=tab[name="Label"]')
    page.click("#loom-label-look")
    page.wait_for_function("() => document.querySelector('#loom-label-set input').value === 'a_set'")
    page.fill("#loom-labeller input, #loom-labeller textarea", name)
    page.click("#loom-label-start")


def answer(page):
    """Owlet is there, all else is not."""
    for question in page.locator(".loom-question").all():
        name = question.get_attribute("data-name")
        value = "yes" if name == "owlet" else "no"
        page.click(f'.loom-question[data-name="{name}"] [data-value={value}]')
        page.wait_for_selector(f'.loom-question[data-name="{name}"] [data-value={value}][aria-pressed=true]')
    page.click(".loom-label [data-action=save]")


@pytest.mark.long
def test_two_pictures_are_labelled_with_a_reload_between(page, studio_page, a_set, request):
    person = f"ann {request.node.nodeid[-12:]} {id(page)}"  # another one if the test is driven a second time
    start(page, person)
    page.wait_for_selector("text=0 of 2 pictures labelled")
    answer(page)
    page.wait_for_selector("text=1 of 2 pictures labelled")
    page.reload()
    page.wait_for_selector(".loom-card", state="attached")
    start(page, person)
    page.wait_for_selector("text=1 of 2 pictures labelled")
    answer(page)
    page.wait_for_selector("text=All 2 pictures are labelled")
    book = LabelBook(studio_page.workspace.studio.output_dir / "labels")
    said = [answer.present for answer in book.answers() if answer.labeller == person]
    assert len(said) == 2
    assert all(present["owlet"] and sum(present.values()) == 1 for present in said)
