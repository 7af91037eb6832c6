"""One encoding of the prompt for every set of text-encoder gates, and its way into the denoiser's calls."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from pipelines.errors import BaseModelError
from pipelines.plan import Gates
from pipelines.runtime.bank import ModelBank

_Effect = tuple[tuple[str, str, float], ...]  # (text encoder, adapter, gate) of all that act; () is the plain encoder


class PromptEncodings:
    """Encodes whatever the pipeline encodes once per effect on the text encoders, and swaps encodings per pass.

    The pipeline goes on with the first encoding: it concatenates the halves of guidance, repeats and casts as it likes.
    `for_pass` then finds in the denoiser's call the rows that came from that encoding and puts in their place the same
    rows of another one; rows of any other origin (zeros, a person's own embeddings) stay as they are.
    """

    def __init__(self, pipe: Any, banks: Mapping[str, ModelBank], text_passes: Sequence[Gates]) -> None:
        self._pipe = pipe
        self._banks = banks
        self._effects: dict[_Effect, Gates] = {}
        several = len({self._effect(gates) for gates in text_passes}) > 1
        if several and getattr(pipe, "controlnet", None) is not None:
            self._effects[()] = {}  # a ControlNet reads the prompt outside of any pass: as plain as it was trained with
        for gates in text_passes:
            self._effects.setdefault(self._effect(gates), gates)
        self._encoded: list[list[list[Tensor]]] = []  # calls, then effects, then the tensors of an encoding
        self._swapped: dict[tuple[int, _Effect], tuple[Tensor, Tensor]] = {}
        self._read = False  # whether a denoiser has read the encodings: the next prompt then begins a new run

    @contextmanager
    def installed(self) -> Generator[None]:
        """Stand in for the pipeline's `encode_prompt` until the context ends."""
        own: dict[str, Any] = self._pipe.__dict__
        encode: Callable[..., Any] = self._pipe.encode_prompt

        def encode_all(*args: Any, **kwargs: Any) -> Any:
            if self._read:
                self._encoded.clear()
                self._swapped.clear()
                self._read = False
            results = [self._encode(gates, encode, args, kwargs) for gates in self._effects.values()]
            self._encoded.append([_tensors(result) for result in results])
            return results[0]

        own["encode_prompt"] = encode_all
        try:
            yield
        finally:
            del own["encode_prompt"]

    def for_pass(self, embeds: Tensor, gates: Gates) -> Tensor:
        """What `embeds` [b ...] of the denoiser's call is when the prompt is encoded with `gates`."""
        self._read = True
        effect = self._effect(gates)
        if effect not in self._effects:
            raise BaseModelError(
                "a pass asks for an encoding of the prompt that its plan did not announce",
                expected="text gates that are among the plan's text_passes",
                found=str(dict(gates)),
            )
        index = list(self._effects).index(effect)
        if index == 0 or not self._encoded:
            return embeds
        kept = self._swapped.get((id(embeds), effect))
        if kept is None:  # the tensor is kept beside its answer, so that its id stays its own
            kept = self._swapped[id(embeds), effect] = embeds, self._swap(embeds, index)
        return kept[1]

    def _encode(self, gates: Gates, encode: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        for bank in self._banks.values():
            bank.activate([gates])
        return encode(*args, **kwargs)

    def _effect(self, gates: Gates) -> _Effect:
        return tuple(
            (encoder, name, gate)
            for encoder, bank in self._banks.items()
            for name, gate in sorted(bank.touched_by(gates).items())
        )

    def _swap(self, embeds: Tensor, index: int) -> Tensor:
        rows = [self._counterpart(row, index) for row in embeds]
        if all(row is None for row in rows):
            raise BaseModelError(
                "the pipeline changed its prompt encoding on the way to the denoiser, so no adapter can have its own",
                remedy="Use a method that encodes the prompt once, such as merge.",
            )
        return torch.stack([row if swapped is None else swapped for row, swapped in zip(embeds, rows, strict=True)])

    def _counterpart(self, row: Tensor, index: int) -> Tensor | None:
        for encodings in self._encoded:
            for first, other in zip(encodings[0], encodings[index], strict=True):
                if first.shape[1:] != row.shape:
                    continue
                for mine, theirs in zip(first, other, strict=True):
                    if torch.equal(mine.to(row), row):
                        return theirs.to(row)
        return None


def _tensors(encoding: Any) -> list[Tensor]:
    """The tensors in what `encode_prompt` gave, with a batch and at least one more axis."""
    parts = cast("Sequence[Any]", encoding if isinstance(encoding, tuple | list) else (encoding,))
    return [part for part in parts if isinstance(part, Tensor) and part.ndim > 1]
