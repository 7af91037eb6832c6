"""The shallow part of a denoiser: the layers that a replayed pass computes anew around features kept from a full one.

U-Net (DeepCache, arXiv:2312.00858): the first resnets and attentions of the first down block and the last of the last
up block; kept is what enters them from the depths. Transformer: the first blocks; kept is what the rest added to them.
The blocks in between are stood in for at their `forward`, so the model's own forward runs, whatever it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.runtime.targets import family_of_model

Features: TypeAlias = dict[str, Tensor]  # each with the batch in front


class Shallow(ABC):
    """How to keep the features of a full pass of one model, and how to replay them."""

    @abstractmethod
    def recording(self, features: Features) -> AbstractContextManager[None]:
        """Fill `features` by the full pass that runs in this context."""

    @abstractmethod
    def replaying(self, features: Features) -> AbstractContextManager[None]:
        """Let the pass in this context compute the shallow part only, around `features`."""


def shallow_of(model: nn.Module, branch: int) -> Shallow:
    """The shallow part with `branch` + 1 resnets or blocks, or as many as there are.

    Raises BaseModelError for a model of a family whose features cannot be kept, or of a single block.
    """
    parts: Any = model
    family = family_of_model(model)
    if family is not None and family.replay == "depths":
        return ShallowUNet(parts, branch)
    stacks = family.blocks.stacks if family is not None and family.replay == "blocks" else ()
    blocks = [block for stack in stacks for block in getattr(model, stack, ())]
    if len(blocks) > 1:
        return ShallowTransformer(blocks, branch)
    raise BaseModelError(
        "features of this denoiser cannot be kept from step to step",
        expected="a U-Net, or a transformer of at least two blocks",
        found=type(model).__name__,
        remedy="Choose a method that computes every pass, such as composite.",
    )


class ShallowUNet(Shallow):
    def __init__(self, unet: Any, branch: int) -> None:
        self._unet = unet
        first, last = unet.down_blocks[0], unet.up_blocks[-1]
        kept = min(branch + 1, len(first.resnets))  # resnets of the first down block that are computed
        entry = len(first.resnets) - kept  # resnet of the last up block that meets the features
        self._deep_down = list(unet.down_blocks[1:])
        self._identities = [*first.resnets[kept:], *(first.downsamplers or ()), *last.resnets[: max(entry - 1, 0)]]
        self._identities += [unet.mid_block] if unet.mid_block is not None else []
        self._identities += list(unet.up_blocks[:-2])
        self._attentions = [*_attentions(first)[kept:], *_attentions(last)[:entry]]
        between = list(unet.up_blocks[-2:-1]) or [unet.mid_block]
        self._before_last_up = between[0]
        self._last_skipped = last.resnets[entry - 1] if entry else None
        producers = [between[0]] if not entry else (_attentions(last)[entry - 1 : entry] or [last.resnets[entry - 1]])
        self._producer = producers[0]

    @contextmanager
    def recording(self, features: Features) -> Generator[None]:
        def keep(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            output: Any = forward(*args, **kwargs)
            features["deep"] = output if isinstance(output, Tensor) else output[0]
            return output

        with standing_in({self._producer: keep}):
            yield

    @contextmanager
    def replaying(self, features: Features) -> Generator[None]:
        deep = features["deep"]

        def nothing(forward: Callable[..., Any], hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            return hidden_states

        def no_attention(forward: Callable[..., Any], hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            return (hidden_states,)

        def recorded(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return deep

        def no_block(block: Any) -> Callable[..., Any]:
            skips = len(block.resnets) + (1 if block.downsamplers else 0)
            zero = deep.new_zeros(1)

            def forward(forward: Callable[..., Any], hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
                return zero.view(1, 1, 1, 1), (zero.view(1, 1, 1, 1),) * skips  # residuals of a ControlNet broadcast

            return forward

        def without_deep_residuals(unet: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            """Those of a T2I-Adapter are added in place behind a block, where a stand-in has nothing of their shape."""
            residuals = kwargs.get("down_intrablock_additional_residuals")
            if residuals:
                deeper = [deep.new_zeros(1, 1, 1, 1) for _ in residuals[1:]]
                kwargs = {**kwargs, "down_intrablock_additional_residuals": [residuals[0], *deeper]}
            return args, kwargs

        stand_ins: dict[nn.Module, Callable[..., Any]] = dict.fromkeys(self._identities, nothing)
        stand_ins |= dict.fromkeys(self._attentions, no_attention)
        stand_ins |= {block: no_block(block) for block in self._deep_down}
        stand_ins[self._before_last_up] = recorded
        if self._last_skipped is not None:
            stand_ins[self._last_skipped] = recorded
        hook = self._unet.register_forward_pre_hook(without_deep_residuals, with_kwargs=True)
        try:
            with standing_in(stand_ins):
                yield
        finally:
            hook.remove()


class ShallowTransformer(Shallow):
    """Blocks that hand on the picture's tokens beside those of the text, or all of them as one row."""

    def __init__(self, blocks: list[Any], branch: int) -> None:
        self._anchor = blocks[min(branch, len(blocks) - 2)]
        computed = blocks.index(self._anchor) + 1
        self._between = blocks[computed:-1]
        self._last = blocks[-1]

    @contextmanager
    def recording(self, features: Features) -> Generator[None]:
        def keep(name: str) -> Callable[..., Any]:
            def forward(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
                output = forward(*args, **kwargs)
                features[name] = _picture(output)
                return output

            return forward

        with standing_in({self._anchor: keep("anchor"), self._last: keep("last")}):
            yield

    @contextmanager
    def replaying(self, features: Features) -> Generator[None]:
        met: list[Tensor] = []

        def anchor(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            met.append(_picture(output))
            return output

        def nothing(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            hidden_states = args[0] if args else kwargs["hidden_states"]
            if "encoder_hidden_states" in kwargs:
                return kwargs["encoder_hidden_states"], hidden_states
            return hidden_states

        def last(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            moved = met[-1] - features["anchor"]  # exactly 0 where the shallow part is as it was
            kept = features["last"]
            if moved.shape[1] < kept.shape[1]:  # kept is the text's tokens and then the picture's, moved the latter
                moved = F.pad(moved, (0, 0, kept.shape[1] - moved.shape[1], 0))
            whole = kept + moved
            return (kwargs["encoder_hidden_states"], whole) if "encoder_hidden_states" in kwargs else whole

        with standing_in({self._anchor: anchor, **dict.fromkeys(self._between, nothing), self._last: last}):
            yield


def _picture(output: Any) -> Tensor:
    """The tokens of the picture in what a block gives: the second of a pair, else all that there are."""
    return cast("tuple[Tensor, Tensor]", output)[1] if isinstance(output, tuple) else output


@contextmanager
def standing_in(stand_ins: Mapping[nn.Module, Callable[..., Any]]) -> Generator[None]:
    """Let these answer in the place of modules, each given the module's own forward first; undone exactly."""
    found = {module: vars(module).get("forward") for module in stand_ins}
    try:
        for module, answer in stand_ins.items():
            vars(module)["forward"] = _bound(answer, module.forward)
        yield
    finally:
        for module, own in found.items():
            if own is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = own


def _bound(answer: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: answer(forward, *args, **kwargs)


def _attentions(block: Any) -> list[Any]:
    return list(getattr(block, "attentions", ()))


def split(features: Features, passes: int) -> list[Features]:
    """The features of a batch of passes, pass by pass."""
    parts = {name: torch.chunk(each, passes) for name, each in features.items()}
    return [{name: part[index] for name, part in parts.items()} for index in range(passes)]


def joined(features: list[Features]) -> Features:
    """The features of passes that run as one batch."""
    if len(features) == 1:
        return features[0]
    return {name: torch.cat([each[name] for each in features]) for name in features[0]}
