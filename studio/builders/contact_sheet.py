"""Contact sheets: a grid of pictures with a line of text under each, verdicts in colour."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, WRONG = (250, 250, 247), (40, 40, 48), (200, 40, 40)
Line = tuple[str, bool]  # a text, and whether it is right


def contact_sheet(
    pictures: Sequence[Image.Image],
    lines: Sequence[Sequence[Line]],
    path: Path,
    *,
    columns: int = 8,
    tile: int = 128,
    text_lines: int = 3,
) -> None:
    """Write `pictures` as a PNG grid; `lines[i]` stand under picture i, wrong ones in red."""
    font = ImageFont.load_default(10)
    gap, text_height = 6, 12 * text_lines
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (tile + gap) + gap, rows * (tile + text_height + gap) + gap), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        x, y = gap + i % columns * (tile + gap), gap + i // columns * (tile + text_height + gap)
        sheet.paste(picture.convert("RGB").resize((tile, tile), Image.Resampling.LANCZOS), (x, y))
        for k, (text, right) in enumerate(lines[i][:text_lines]):
            pen.text((x, y + tile + 1 + 12 * k), text[: tile // 5], fill=INK if right else WRONG, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
