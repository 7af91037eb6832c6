"""Services: what tabs share beside studio, jobs and gallery, such as a search index or a registry of marks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar, cast

Service = TypeVar("Service")


class Services:
    """One object of each kind, made by the first tab that asks for it and closed with the workspace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[type, Any] = {}
        self._closing = ExitStack()

    def get(self, kind: type[Service], make: Callable[[], Service]) -> Service:
        """The object of that kind; `make` makes it if there is none. Its `close`, where it has one, is called later."""
        with self._lock:
            if kind not in self._made:
                made = make()
                self._made[kind] = made
                if callable(close := getattr(made, "close", None)):
                    self._closing.callback(cast("Callable[[], object]", close))
            return cast("Service", self._made[kind])

    def close(self) -> None:
        """Close all, the one made last first."""
        with self._lock:
            self._made.clear()
            self._closing.close()
