"""NoPaths: an order names no file of this machine, wherever the name stands in it."""

import json
import os

import pytest

from lora_loom.studio.ui.doors import no_paths
from lora_loom.studio.ui.doors.no_paths import NoPaths


@pytest.fixture
def client(tmp_path, behind):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "mine.png").write_bytes(b"x")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "uploads" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "uploads" / "pipe")
    return behind(NoPaths, tmp_path / "uploads")


def order(client, value):
    return client.post("/gradio_api/queue/join", json=value)


def test_an_order_with_an_upload_arrives_as_it_was_sent(client, tmp_path):
    value = {"data": [{"path": str(tmp_path / "uploads" / "mine.png"), "meta": {"_type": "gradio.FileData"}}, 1, None]}
    answer = order(client, value)
    assert (answer.status_code, json.loads(answer.text)) == (200, value)
    assert client.post("/gradio_api/cancel").text == "reached"
    assert client.get("/config").text == "reached"


def test_a_path_or_an_address_is_refused_wherever_it_stands(client, tmp_path):
    paths = ["/etc/passwd", "http://127.0.0.1:1/a.png", "mine.png", "../secret", "", str(tmp_path / "secret")]
    paths += [str(tmp_path / "uploads" / name) for name in ("link", "pipe", "gone", "../secret", ".", "mine.png\0")]
    for path in paths:
        for value in ({"path": path}, [{"data": [[{"a": {"path": path}}]]}]):
            answer = order(client, value)
            assert (answer.status_code, "no path" in answer.text) == (400, True), path


def test_what_cannot_be_read_is_refused(client, monkeypatch):
    for body in (b"{", b'{"path": "a", "path": "b"}', b"\xff", b"[" * 1000):
        answer = client.post("/gradio_api/queue/join", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, "cannot be read" in answer.text) == (400, True)
    assert client.post("/gradio_api/queue/join", content=b'{"path": "/etc/passwd"}').status_code == 400  # no type given
    monkeypatch.setattr(no_paths, "MAX_ORDER", 10)
    assert order(client, ["x" * 20]).status_code == 413


def test_uploads_are_no_orders(client):
    assert client.post("/gradio_api/upload", files={"files": b"{"}).status_code == 200
