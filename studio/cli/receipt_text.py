"""The receipt of a LoRA file in words: what it is, what fits, and every loss with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.receipt import ComponentReceipt, Receipt

MAX_SHOWN = 5  # losses of one kind; --json has them all


def receipt_lines(receipt: Receipt) -> Iterator[str]:
    """The lines to print for `receipt`, the losses last."""
    yield receipt.file
    yield f"  for {receipt.base_family}: {receipt.base_family_why}"
    yield f"  {receipt.dialect} names, SHA-256 {receipt.sha256}"
    if receipt.target_family:
        yield f"  matched against a base of the {receipt.target_family} family"
    for name, part in receipt.components.items():
        yield f"  {name}: {_summary(part)}"
    losses = {
        "ignored": [f"{each.name}: {each.reason}" for part in receipt.components.values() for each in part.ignored]
        + [f"{each.name}: {each.reason}" for each in receipt.unknown_keys],
        "of another shape": [
            f"{each.path}: {_size(each.file_shape)} in the file, {_size(each.base_shape)} in the base"
            for part in receipt.components.values()
            for each in part.wrong_shape
        ],
        "not finite": [name for part in receipt.components.values() for name in part.non_finite],
    }
    for kind, entries in losses.items():
        if entries:
            yield f"  {kind}: {len(entries)}"
            yield from (f"    {entry}" for entry in entries[:MAX_SHOWN])
            if len(entries) > MAX_SHOWN:
                yield f"    and {len(entries) - MAX_SHOWN} more"
    yield "  everything in it has its effect" if receipt.complete else "  not everything in it has its effect"


def _summary(part: ComponentReceipt) -> str:
    facts = [f"{len(part.matched)} module{'' if len(part.matched) == 1 else 's'}"]
    facts += [f"{count} {kind}" for kind, count in (part.kinds or {}).items()]
    facts += [
        f"{name} {_span(span)}" for name in ("rank", "alpha", "scale") if (span := getattr(part, name)) is not None
    ]
    return ", ".join(facts)


def _span(span: tuple[float, float]) -> str:
    low, high = span
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
