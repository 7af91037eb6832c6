"""MembersOnly: before the login there is only the login, and it is slow for who guesses."""

import pytest

from lora_loom.studio.ui.doors.members import MembersOnly


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(behind, clock):
    return behind(MembersOnly, lambda cookies: cookies.get("token") == "good", clock)


def test_only_the_way_in_is_open(client):
    for path in ("/", "/config", "/theme.css", "/assets/index.js", "/login"):
        assert client.get(path).status_code == 200, path
    for path in (
        "/gradio_api/openapi.json",
        "/openapi.json",
        "/app_id",
        "/gradio_api/app_id",
        "/gradio_api/heartbeat/x",
    ):
        assert client.get(path).status_code == 401, path
    for path in ("/reset", "/gradio_api/reset", "/gradio_api/cancel", "/gradio_api/queue/join"):
        assert client.post(path).status_code == 401, path


def test_members_get_everything(client):
    client.cookies.set("token", "good")
    assert client.get("/gradio_api/openapi.json").status_code == 200
    client.cookies.set("token", "bad")
    assert client.get("/gradio_api/openapi.json").status_code == 401


def test_whoever_guesses_has_to_wait(client, clock):
    def login(password):
        return client.post("/login", data={"password": password})

    assert [login("wrong").status_code for _ in range(5)] == [400] * 5
    waiting = login("right")
    assert (waiting.status_code, waiting.headers["retry-after"]) == (429, "11")
    assert "try again in 11 seconds" in waiting.text
    clock.now += 10.1
    assert login("wrong").status_code == 400
    clock.now += 10.1
    assert login("right").status_code == 429  # twice as long at each further one
    clock.now += 10.1
    assert login("right").status_code == 200
    assert [login("wrong").status_code for _ in range(5)] == [400] * 5  # and begins anew


def test_a_broken_cookie_is_none(client):
    assert client.get("/app_id", headers={"cookie": "a=\x01; ]["}).status_code == 401
