"""Measure the pocket encoder: `python -m lora_loom.studio.builders.measure_encoder --work DIR`.

How often a picture's own caption scores above 31 others, and above the same caption with one factor exchanged.
Writes `docs/results/pocket_encoder.json`.
"""

import argparse
from pathlib import Path

import numpy as np

from lora_loom.studio.builders.encoder import RANKED, foil, ranks_first
from lora_loom.studio.builders.known_pictures import known_pictures
from lora_loom.studio.pocket.encoder import shipped_encoder
from lora_loom.studio.pocket.world.captions import caption
from lora_loom.studio.results import Row, proportion, write_results

LINE = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder where pictures are kept")
    parser.add_argument("--count", type=int, default=600, help="fresh renders")
    arguments = parser.parse_args()
    encoder, rng, rows = shipped_encoder(), np.random.default_rng(0), list[Row]()
    for known in known_pictures(arguments.work, arguments.count):
        captions = [caption(scene) for scene in known.scenes]
        line = LINE if known.shift == "fresh" else None
        won = ranks_first(encoder, known.pictures, captions)
        rows.append(proportion(won, line=line, what=f"first of {RANKED} captions", shift=known.shift))
        foils = [caption(foil(scene, rng)) for scene in known.scenes]
        seen = encoder.embed_images(known.pictures)
        own, other = ((seen * encoder.embed_texts(texts)).sum(1) for texts in (captions, foils))
        told = [bool(a > b) for a, b, t, f in zip(own, other, captions, foils, strict=True) if t != f]
        rows.append(proportion(told, line=None, what="above its foil", shift=known.shift))
    write_results(
        "pocket_encoder",
        f"python -m lora_loom.studio.builders.measure_encoder --work DIR --count {arguments.count}",
        rows,
    )


if __name__ == "__main__":
    main()
