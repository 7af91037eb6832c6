"""Server: an ASGI application served from a thread, on a port that is known to be free before anything is promised."""

from __future__ import annotations

import socket
import threading
from typing import Any

FIRST_PORT, PORTS_TRIED = 7860, 100
CLOSING_SECONDS = 2  # how long open connections may take to end


class Server:
    """Serves `app` at `url` until `close`. Raises OSError if the address cannot be listened on."""

    def __init__(self, app: Any, host: str, port: int | None) -> None:
        import uvicorn

        self._socket = _listen(host, port)
        bound = self._socket.getsockname()[1]
        name = "127.0.0.1" if host == "0.0.0.0" else host  # listening everywhere is no address to go to
        self.url = f"http://[{name}]:{bound}/" if ":" in name else f"http://{name}:{bound}/"
        config = uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=CLOSING_SECONDS,
            proxy_headers=False,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="loom-server", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Return when the server has ended."""
        while self._thread.is_alive():
            self._thread.join(1)  # a join without a limit would keep Ctrl-C waiting on some systems

    def close(self) -> None:
        """Stop listening, end the open connections and return when that is done."""
        self._server.should_exit = True
        self._thread.join(2 * CLOSING_SECONDS + 5)
        self._socket.close()


def _listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens on `port`, or on the first free port from 7860; raises OSError."""
    ports = range(FIRST_PORT, FIRST_PORT + PORTS_TRIED) if port is None else (port,)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen()
            return listener
        except OSError:
            listener.close()
            if candidate == ports[-1]:
                raise
    raise AssertionError("unreachable: the last port either listens or raises")
