"""The page as a whole: served locally, with endpoints for programs, and nothing more than it should serve."""

import gc
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from starlette.testclient import TestClient

from lora_loom.pipelines.errors import BaseModelError, RequestError
from lora_loom.pipelines.registry import methods
from lora_loom.studio.session import Studio
from lora_loom.studio.ui import launch as launch_module
from lora_loom.studio.ui.launch import application, launch
from lora_loom.studio.ui.page import find_tabs
from lora_loom.studio.ui.server import FIRST_PORT, Server

# Gradio leaves the event loops of its server to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
TWO = [{"name": "owlet", "strength": 1.0}, {"name": "crown", "strength": 0.8}]


@pytest.fixture(scope="module")
def page(make_quick_studio, tmp_path_factory):
    studio = make_quick_studio(tmp_path_factory.mktemp("page"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch_module, "Studio", lambda *arguments: studio)
        patch.setenv("GRADIO_TEMP_DIR", "")  # launch sets it; put back at the end
        running = launch(block=False)
        yield running
        running.close()
    gc.collect()  # while the warnings about Gradio's loops are still ignored


@pytest.fixture(scope="module")
def client(page):
    client = Client(page.server.url, verbose=False)
    yield client
    client.close()


@pytest.fixture
def quick_studio(page):
    studio = page.workspace.studio
    yield studio
    studio.before_step = lambda index: None


def status(url):
    try:
        return urllib.request.urlopen(url).status
    except urllib.error.HTTPError as error:
        return error.code


def ended(client, job_id):
    for _ in range(500):
        job = client.predict(job_id, api_name="/job")
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.01)
    raise AssertionError("the job did not end")


def test_tabs_are_found_by_their_files():
    assert [tab.title for tab in find_tabs()][:1] == ["Compose"]


def test_a_program_can_do_what_the_page_does(client, quick_studio):
    request = {"prompt": "owlet, crown", "adapters": TWO, "num_inference_steps": 2, "method": "composite"}
    job = client.predict(request, api_name="/generate")
    done = ended(client, job["id"])
    assert (done["state"], done["step"], len(done["outputs"])) == ("done", 2, 1)
    assert (quick_studio.output_dir / done["outputs"][0]).is_file()
    assert client.predict("", api_name="/job")["id"] == job["id"]
    assert [card["name"] for card in client.predict("golden", "", api_name="/library")] == []
    assert "path" not in client.predict("owlet", "", api_name="/library")[0]
    assert [method["name"] for method in client.predict(api_name="/methods")] == list(methods())


def test_tags_in_a_programs_prompt_act(client):
    request = {"prompt": "an owl <lora:owlet:0.8:0.4>, (night:1.3)", "adapters": TWO[1:], "num_inference_steps": 1}
    job = client.predict(request, api_name="/generate")
    asked = ended(client, job["id"])["request"]
    assert asked["prompt"] == "an owl, (night:1.3)"
    assert asked["adapters"] == [*TWO[1:], {"name": "owlet", "strength": 0.8, "blocks": {"text": 0.5}}]
    assert [notice.partition(" ")[0] for notice in job["notices"]] == ["<lora:owlet:0.8:0.4>", "(night:1.3):"]
    with pytest.raises(AppError, match="there is no LoRA called"):
        client.predict({"prompt": "an owl <lora:/etc/owlet.safetensors:1>"}, api_name="/generate")


def test_a_program_can_cancel(client, quick_studio):
    go = threading.Event()
    quick_studio.before_step = lambda index: go.wait(10)
    job = client.predict({"prompt": "x", "num_inference_steps": 50}, api_name="/generate")
    client.predict(job["id"], api_name="/cancel")
    go.set()
    assert ended(client, job["id"])["state"] == "cancelled"


@pytest.mark.long
def test_each_person_sees_and_stops_jobs_of_their_own(make_quick_studio, tmp_path, monkeypatch):
    studio, go = make_quick_studio(tmp_path), threading.Event()
    studio.before_step = lambda index: go.wait(10)
    monkeypatch.setattr(launch_module, "Studio", lambda *arguments: studio)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    people = [("ann", "one-secret"), ("bob", "two-secret")]
    running = launch(block=False, auth=people)
    try:
        ann, bob = (Client(running.server.url, verbose=False, auth=person) for person in people)
        job = ann.predict({"prompt": "x", "num_inference_steps": 50}, api_name="/generate")["id"]
        for asked, endpoint in (("", "/job"), (job, "/job"), (job, "/cancel")):
            with pytest.raises(AppError, match="there is no such job"):
                bob.predict(asked, api_name=endpoint)
        assert ann.predict("", api_name="/job")["id"] == job
        assert not running.workspace.store.get(job).cancel_requested
        ann.predict(job, api_name="/cancel")
        go.set()
        assert ended(ann, job)["state"] == "cancelled"
    finally:
        go.set()
        for client in (ann, bob):
            client.close()
        running.close()
        gc.collect()  # while the warnings about Gradio's loops are still ignored


def test_bad_requests_are_explained_to_programs(client, subtests):
    cases = [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "x", "adapters": [{"name": "owlett"}]}, "Did you mean owlet"),
        ({"prompt": "x", "adapters": [{"name": "../../etc/passwd"}]}, "there is no LoRA called"),
        ({"prompt": "x", "method": "merg"}, "Did you mean 'merge'"),
        ({"prompt": "x", "method": "switch", "settings": {"switch_every": 0}}, "from 1 to 100"),
        ({"prompt": "x", "base_model": "/etc"}, "this studio draws with"),
        ({"prompt": "x", "surprise": 1}, "unknown keys"),
    ]
    for request_, words in cases:
        with subtests.test(request_=request_, words=words), pytest.raises(AppError, match=words):
            client.predict(request_, api_name="/generate")


def test_only_pictures_and_thumbnails_are_served(client, page, quick_studio):
    job = ended(client, client.predict({"prompt": "x", "num_inference_steps": 1}, api_name="/generate")["id"])
    served = f"{page.server.url}gradio_api/file="
    assert status(served + urllib.parse.quote(str(quick_studio.output_dir / job["outputs"][0]))) == 200
    library = quick_studio.library.roots[0]
    for path in (
        quick_studio.output_dir / ".loom" / "jobs" / "jobs.sqlite",
        library / "owlet.safetensors",
        library / "owlet.json",
        "/etc/passwd",
        Path.cwd() / "pyproject.toml",
        quick_studio.output_dir / ".." / "loras" / "owlet.json",
    ):
        assert status(served + urllib.parse.quote(str(path))) in (403, 404)


def test_an_order_names_no_file_of_this_machine(page, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would hold every request up
    for path in ("/etc/hostname", str(tmp_path / "pipe"), "http://127.0.0.1:1/a.png"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [file], "fn_index": 0, "session_hash": "x"}).encode()
        headers = {"content-type": "application/json"}
        order = urllib.request.Request(f"{page.server.url}gradio_api/queue/join", body, headers)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(order, timeout=20)
        assert (refused.value.code, b"no path" in refused.value.read()) == (400, True)


def test_the_events_of_the_page_are_no_endpoints_for_programs(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/cancel", "/generate", "/job", "/library", "/methods"]


def test_the_page_asks_nobody_outside(page):
    html = urllib.request.urlopen(page.server.url).read().decode()
    config = json.loads(urllib.request.urlopen(f"{page.server.url}config").read())
    assert config["analytics_enabled"] is False
    assert "fonts.googleapis" not in html
    assert "fonts.googleapis" not in urllib.request.urlopen(f"{page.server.url}theme.css").read().decode()


def test_foreign_pages_are_refused(page):
    request = urllib.request.Request(page.server.url, headers={"Host": "evil.example"})
    assert status(request) == 403


def test_the_first_free_port_is_taken_and_a_taken_one_is_an_error(page):
    taken = urllib.parse.urlsplit(page.server.url).port
    assert taken >= FIRST_PORT
    second = Server(None, "127.0.0.1", None)
    assert urllib.parse.urlsplit(second.url).port > taken
    second.close()
    with pytest.raises(OSError, match="in use"):
        Server(None, "127.0.0.1", taken)


def test_behind_a_password_nothing_is_served_without_it(page):
    app = application(page.workspace, "0.0.0.0", ("anna", "secret"))
    visitor = TestClient(app, base_url="http://studio.example")
    picture = f"/gradio_api/file={page.workspace.studio.output_dir}/x.png"
    for path in ("/config", "/gradio_api/info", picture):
        assert visitor.get(path).status_code == 401
    order = {"data": [{"prompt": "x"}], "fn_index": 0, "session_hash": "a"}
    assert visitor.post("/gradio_api/run/generate", json=order).status_code == 401
    assert visitor.post("/gradio_api/queue/join", json=order).status_code == 401
    assert visitor.post("/login", data={"username": "anna", "password": "wrong"}).status_code == 400
    assert visitor.post("/login", data={"username": "anna", "password": "secret"}).status_code == 200


def test_a_base_model_that_is_not_there_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(launch_module, "Studio", Studio)
    with pytest.raises(BaseModelError, match="no-such-base"):
        launch(base_model="no-such-base", output_dir=tmp_path, block=False)


def test_listening_elsewhere_needs_a_password(subtests):
    for host in ["0.0.0.0", "192.168.1.5", "studio.example", ""]:
        with subtests.test(host=host), pytest.raises(RequestError, match="without a password"):
            launch(host, block=False)
