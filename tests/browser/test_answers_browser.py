"""No answer of the server is lost when its stream ends in the moment in which the page sends another event."""

import json

import pytest

from lora_loom.studio.ui.theme import SCRIPTS

pytestmark = pytest.mark.browser

# A server as Gradio's: /queue/join answers with the event's id, every /queue/data with the next of the streams given.
SERVER = """
(streams) => {
    window.listened = 0;
    window.fetch = async (input) => {
        const url = typeof input === 'string' ? input : input.url;
        const id = url.split('#')[1];
        if (id && id === window.held) await new Promise((release) => { window.release = release; });
        if (url.includes('/queue/join')) return new Response(JSON.stringify({event_id: id}));
        if (!url.includes('/queue/data')) return new Response('elsewhere');
        const parts = streams[window.listened++].map((message) => new TextEncoder().encode(message));
        return new Response(new ReadableStream({
            pull: (controller) => (parts.length ? controller.enqueue(parts.shift()) : controller.close()),
        }));
    };
}
"""
READ = """
async (ids) => {
    for (const id of ids) await (await fetch('/queue/join#' + id)).json();
    return (await (await fetch('/queue/data?session_hash=s')).text()).split('\\n\\n').filter(Boolean);
}
"""

# The event `held` is sent, but what the server says to that arrives only after the stream has been read.
READ_FIRST = """
async (held) => {
    window.held = held;
    const sent = fetch('/queue/join#' + held);
    const read = await (await fetch('/queue/data?session_hash=s')).text();
    window.release();
    await (await sent).json();
    window.held = null;
    return read.split('\\n\\n').filter(Boolean);
}
"""


def message(msg, event_id=None):
    return f"data: {json.dumps({'msg': msg, 'event_id': event_id})}\n\n"


def completed(event_id):
    return message("process_completed", event_id)


CLOSE = message("close_stream")


@pytest.fixture
def read(browser, studio_page):
    """What the page reads when it has sent the events `ids` and the server's streams are `streams`."""
    page = browser.new_page()
    page.goto(studio_page.server.url + "gradio_api/startup-events")  # the origin, without the studio's page

    def read(streams, ids, script=READ):
        page.evaluate(SERVER, streams)
        page.evaluate(SCRIPTS[0].read_text())
        return [json.loads(line.removeprefix("data: ")) for line in page.evaluate(script, ids)]

    read.page = page
    yield read
    page.close()


def said(messages):
    return [(one["msg"], one["event_id"]) for one in messages]


def test_a_stream_that_answers_everything_is_passed_on_as_it_is(read):
    found = read([[message("process_starts", "a"), completed("a"), CLOSE]], ["a"])
    assert said(found) == [("process_starts", "a"), ("process_completed", "a"), ("close_stream", None)]
    assert read.page.evaluate("() => window.listened") == 1


def test_an_event_sent_while_the_stream_ends_is_still_answered(read):
    found = read([[completed("a"), CLOSE], [completed("b"), CLOSE]], ["a", "b"])
    assert said(found) == [("process_completed", "a"), ("process_completed", "b"), ("close_stream", None)]
    assert read.page.evaluate("() => window.listened") == 2


def test_an_event_whose_sending_is_not_confirmed_yet_is_waited_for(read):
    found = read([[CLOSE], [completed("b")]], "b", READ_FIRST)
    assert said(found) == [("process_completed", "b")]
    assert read.page.evaluate("() => window.listened") == 2


def test_an_answer_before_the_confirmation_is_not_waited_for_again(read):
    read([[completed("a")], [CLOSE]], "a", READ_FIRST)
    again = read.page.evaluate("async () => (await fetch('/queue/data?session_hash=s')).text()")
    assert "close_stream" in again
    assert read.page.evaluate("() => window.listened") == 2


def test_messages_in_pieces_are_put_together(read):
    whole = message("process_starts", "a") + completed("a") + CLOSE
    found = read([[whole[:7], whole[7:60], whole[60:]]], ["a"])
    assert said(found)[-1] == ("close_stream", None)
    assert len(found) == 3


def test_a_stream_that_breaks_off_ends(read):
    assert said(read([[message("process_starts", "a")]], ["a"])) == [("process_starts", "a")]


def test_other_requests_are_left_alone(read):
    read([[CLOSE]], [])
    assert read.page.evaluate("async () => (await fetch('/elsewhere')).text()") == "elsewhere"
