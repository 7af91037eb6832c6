"""Put a trained base into the package: `python -m lora_loom.studio.builders.ship --work DIR`.

Copies the pipeline of the base run with the autoencoder's latest decoder, in float16, and the logs of the training;
then `python -m lora_loom.studio.builders.card` writes its model card.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny

from lora_loom.studio.pocket import base_path

MOST_BYTES = 45_000_000


def ship_autoencoder(source: Path, out: Path) -> None:
    """Replace the autoencoder in `out` by the one in `source`, in float16."""
    vae: Any = AutoencoderTiny.from_pretrained(source)
    shutil.rmtree(out)
    vae.to(torch.float16).save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    config.pop("block_out_channels", None)  # diffusers writes it and then warns about it at every load
    config.pop("_name_or_path", None)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the autoencoder and base runs")
    parser.add_argument("--out", type=Path, default=base_path())
    arguments = parser.parse_args()
    work, out = arguments.work, arguments.out
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(work / "base", out)
    ship_autoencoder(work / "vae", out / "vae")
    for name in ("autoencoder_log.jsonl", "base_log.jsonl"):
        shutil.copy(work / name, out / name)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        raise SystemExit(f"the base must stay under {MOST_BYTES / 1e6:.0f} MB, it has {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
