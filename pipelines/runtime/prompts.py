"""One encoding of the prompt for every set of text-encoder gates, and its way into the denoiser's calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from lora_loom.pipelines.errors import BaseModelError, RequestError
from lora_loom.pipelines.plan import Gates, RegionPrompt
from lora_loom.pipelines.runtime.bank import ModelBank

_Effect = tuple[tuple[str, str, float], ...]  # (text encoder, adapter, gate) of all that act; () is the plain encoder
_Wanted = tuple[
    int, _Effect
]  # the region whose prompt is encoded, 0 for the run's own, and the effect it is encoded with


class PromptEncodings:
    """Encodes whatever the pipeline encodes once per effect on the text encoders, and swaps encodings per pass.

    The pipeline goes on with the first encoding: it concatenates the halves of guidance, repeats and casts as it likes.
    `for_pass` then finds in the denoiser's call the rows that came from that encoding and puts in their place the same
    rows of another one; rows of any other origin (zeros, a person's own embeddings) stay as they are. `probed` are
    gates beside the plan's own, to look at; they change nothing of what the pipeline goes on with.
    """

    def __init__(
        self,
        pipe: Any,
        banks: Mapping[str, ModelBank],
        text_passes: Sequence[Gates],
        regions: Sequence[RegionPrompt] = (),
        probed: Sequence[Gates] = (),
    ) -> None:
        self._pipe = pipe
        self._banks = banks
        self._regions = regions
        self._wanted: dict[_Wanted, Gates] = {}
        several = bool(regions) or len({self._effect(gates) for gates in text_passes}) > 1
        if several and getattr(pipe, "controlnet", None) is not None:
            self._wanted[
                0, ()
            ] = {}  # a ControlNet reads the prompt outside of any pass: as plain as it was trained with
        for region, passes in enumerate((text_passes, *(each.text_passes for each in regions))):
            for gates in passes:
                self._wanted.setdefault((region, self._effect(gates)), gates)
        for gates in probed:
            self._wanted.setdefault((0, self._effect(gates)), gates)
        self._encoded: list[list[list[Tensor]]] = []  # calls, then what is wanted, then the tensors of an encoding
        self._swapped: dict[tuple[int, _Wanted], tuple[Tensor, Tensor]] = {}
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
            results = [
                self._encode(gates, encode, *self._said(region, encode, args, kwargs))
                for (region, _), gates in self._wanted.items()
            ]
            self._encoded.append([_tensors(result) for result in results])
            return results[0]

        own["encode_prompt"] = encode_all
        try:
            yield
        finally:
            del own["encode_prompt"]

    def for_pass(self, embeds: Tensor, gates: Gates, region: int = 0) -> Tensor:
        """What `embeds` [b ...] of the denoiser's call is when the prompt of a region is encoded with `gates`."""
        self._read = True
        wanted = self._announced(region, gates)
        index = list(self._wanted).index(wanted)
        if index == 0 or not self._encoded:
            return embeds
        kept = self._swapped.get((id(embeds), wanted))
        if kept is None:  # the tensor is kept beside its answer, so that its id stays its own
            kept = self._swapped[id(embeds), wanted] = embeds, self._swap(embeds, index)
        return kept[1]

    def one_for_pass(self, states: Tensor, gates: Gates, region: int = 0) -> Tensor:
        """The same for the states [t d] of one sample, where the pipeline hands on one tensor for each."""
        self._read = True
        index = list(self._wanted).index(self._announced(region, gates))
        if index == 0 or not self._encoded:
            return states
        for first, other in ((call[0], call[index]) for call in self._encoded):
            for mine, theirs in zip(first, other, strict=True):
                if mine.data_ptr() == states.data_ptr() and mine.shape == states.shape:
                    return theirs.to(states)
        raise _changed()

    def mask_for_pass(self, mask: Tensor, states: Tensor, after: int, region: int) -> Tensor:
        """What an attention mask of [text, picture] is for the prompt of a region.

        The text's part is the tensor that comes so many `after` the states in what `encode_prompt` gave.
        """
        index = next((k for k, (its, _) in enumerate(self._wanted) if its == region), 0)
        if index == 0 or not self._encoded:
            return mask
        for first, other in ((call[0], call[index]) for call in self._encoded):
            for place, mine in enumerate(first):
                if mine.data_ptr() == states.data_ptr():
                    text = other[place + after].to(mask)
                    return torch.cat([text, mask[:, text.shape[1] :]], dim=1)
        raise _changed()

    def _announced(self, region: int, gates: Gates) -> _Wanted:
        wanted = region, self._effect(gates)
        if wanted not in self._wanted:
            raise BaseModelError(
                "a pass asks for an encoding of the prompt that its plan did not announce",
                expected="text gates that are among the text_passes of the plan, or of the pass's region",
                found=str(dict(gates)),
            )
        return wanted

    def _said(self, region: int, encode: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments of `encode_prompt` with the words of a region in place of the run's own prompt.

        Raises RequestError where the run has no words, only embeddings.
        """
        if region == 0 or self._encoded:  # a second call is for the negative prompt
            return args, kwargs
        words = self._regions[region - 1].prompt
        call = inspect.signature(encode).bind(*args, **kwargs)
        for name in ("prompt", "prompt_2", "prompt_3"):
            said = call.arguments.get(name)
            if said is not None:
                several = isinstance(said, list | tuple)
                call.arguments[name] = [words] * len(cast("list[str]", said)) if several else words
        if call.arguments.get("prompt") is None:
            raise RequestError(
                "a region has a prompt of its own, but the picture is drawn from embeddings",
                expected="a prompt in words",
                remedy="Pass `prompt` to the pipeline instead of `prompt_embeds`.",
            )
        return call.args, call.kwargs

    def _encode(self, gates: Gates, encode: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        for bank in self._banks.values():
            bank.activate([gates])
        return encode(*map(_copied, args), **{name: _copied(value) for name, value in kwargs.items()})

    def _effect(self, gates: Gates) -> _Effect:
        return tuple(
            (encoder, name, gate)
            for encoder, bank in self._banks.items()
            for name, gate in sorted(bank.touched_by(gates).items())
        )

    def _swap(self, embeds: Tensor, index: int) -> Tensor:
        halves = len(embeds) // 2 if len(embeds) % 2 == 0 else 0
        handed_on = [call for call in self._encoded if any(each.data_ptr() == embeds.data_ptr() for each in call[0])]
        calls = handed_on or self._encoded  # of two calls that encoded the same words, the very one meant
        rows = [self._counterpart(row, calls, index, negative=place < halves) for place, row in enumerate(embeds)]
        if all(row is None for row in rows):
            raise _changed()
        return torch.stack([row if swapped is None else swapped for row, swapped in zip(embeds, rows, strict=True)])

    def _counterpart(
        self, row: Tensor, calls: Sequence[list[list[Tensor]]], index: int, *, negative: bool
    ) -> Tensor | None:
        """The row of the other encoding that stands where this one stands in the first.

        Pipelines encode the negative prompt after the prompt and hand it on before it, so of equal rows the last is
        meant in the first half of a batch, which may be that of the negative prompt.
        """
        found: Tensor | None = None
        for encodings in calls:
            for first, other in zip(encodings[0], encodings[index], strict=True):
                if first.shape[1:] != row.shape:
                    continue
                for mine, theirs in zip(first, other, strict=True):
                    if torch.equal(mine.to(row), row):
                        found = theirs.to(row)
                        if not negative:
                            return found
                        break
        return found


def _tensors(encoding: Any) -> list[Tensor]:
    """The tensors in what `encode_prompt` gave, with a batch or tokens and at least one more axis."""
    parts = cast("Sequence[Any]", encoding if isinstance(encoding, tuple | list) else (encoding,))
    nested = (_tensors(part) if isinstance(part, tuple | list) else [part] for part in parts)
    return [part for its in nested for part in its if isinstance(part, Tensor) and part.ndim > 1]


def _copied(value: Any) -> Any:
    """A list of its own, as some pipelines write the words of a template into the one they are given."""
    return list(cast("list[Any]", value)) if isinstance(value, list) else value


def _changed() -> BaseModelError:
    return BaseModelError(
        "the pipeline changed its prompt encoding on the way to the denoiser, so no adapter can have its own",
        remedy="Use a method that encodes the prompt once, such as merge.",
    )
