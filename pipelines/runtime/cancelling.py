"""A way to stop inside a step: before every block of every model the question whether to go on is asked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lora_loom.pipelines.errors import CancelledError
from lora_loom.pipelines.runtime.targets import is_compiled


@contextmanager
def cancellable(pipe: Any, cancelled: Callable[[], bool] | None) -> Generator[None]:
    """Raise CancelledError from inside the models of a pipeline once `cancelled` says so; without it, do nothing.

    Blocks are the members of the models' lists of modules. Compiled models are left alone, as a hook would compile them
    anew: they stop between steps.
    """
    if cancelled is None:
        yield
        return

    def ask(module: nn.Module, args: Any) -> None:
        if cancelled():
            raise CancelledError

    parts: list[Any] = list(pipe.components.values())
    models = [part for part in parts if isinstance(part, nn.Module) and not is_compiled(part)]
    hooks = [block.register_forward_pre_hook(ask) for model in models for block in _blocks(model)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _blocks(model: nn.Module) -> list[nn.Module]:
    return list(dict.fromkeys(block for each in model.modules() if isinstance(each, nn.ModuleList) for block in each))
