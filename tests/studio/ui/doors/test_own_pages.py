"""OwnPagesOnly: other pages of the same browser cannot use the studio."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lora_loom.studio.ui.doors.own_pages import OwnPagesOnly, host_name


def client(*, loopback_only):
    route = Route("/", lambda request: PlainTextResponse("reached"), methods=["GET", "POST"])
    app = Starlette(routes=[route], middleware=[Middleware(OwnPagesOnly, loopback_only=loopback_only)])
    return TestClient(app, base_url="http://127.0.0.1:7860")


def test_loopback_names_are_answered(subtests):
    for host in ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"]:
        with subtests.test(host=host):
            assert client(loopback_only=True).get("/", headers={"host": host}).text == "reached"


def test_a_foreign_name_that_points_here_is_refused(subtests):
    for host in ["evil.example", "127.0.0.1.evil.example:7860", "", "[::1"]:
        with subtests.test(host=host):
            response = client(loopback_only=True).get("/", headers={"host": host})
            assert (response.status_code, response.text) == (403, "this studio answers to localhost only")


def test_an_order_from_another_page_is_refused(subtests):
    cases = ["http://evil.example", "null", "http://127.0.0.1:9999", "https://localhost", "http://["]
    for origin in cases:
        with subtests.test(origin=origin):
            for loopback_only in (True, False):
                assert client(loopback_only=loopback_only).post("/", headers={"origin": origin}).status_code == 403
                assert client(loopback_only=loopback_only).get("/", headers={"origin": origin}).status_code == 403


def test_orders_from_the_own_page_and_from_no_page_pass():
    assert client(loopback_only=True).post("/", headers={"origin": "http://127.0.0.1:7860"}).text == "reached"
    assert client(loopback_only=True).post("/").text == "reached"


def test_a_public_studio_answers_to_any_name():
    assert client(loopback_only=False).get("/", headers={"host": "studio.example"}).text == "reached"


def test_host_names():
    assert [host_name(host) for host in ("LOCALHOST:1", "[::1]:2", "")] == ["localhost", "::1", ""]


def test_another_page_may_lead_here_but_fetch_nothing():
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client(loopback_only=True).get("/", headers=fetched).status_code == 403
    assert client(loopback_only=True).get("/", headers=fetched | {"sec-fetch-mode": "navigate"}).text == "reached"
    assert client(loopback_only=True).get("/", headers=fetched | {"sec-fetch-site": "same-origin"}).text == "reached"
