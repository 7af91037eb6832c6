"""An application that answers everything, so that a door in front of it shows what it lets through."""

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient


async def _anything(request):
    headers = {"access-control-allow-origin": "*", "content-disposition": "attachment"}
    status = 400 if request.url.path == "/login" and b"wrong" in await request.body() else 200
    return Response(await request.body() or b"reached", status, headers, media_type="text/html")


@pytest.fixture
def behind():
    """`behind(door, ...)` is a client of the application behind that door."""

    def client(door, *arguments, **named):
        app = Starlette(routes=[Route("/{path:path}", _anything, methods=["GET", "POST"])])
        return TestClient(door(app, *arguments, **named), base_url="http://127.0.0.1:7860")

    return client
