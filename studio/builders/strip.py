"""Draw the picture of the README: `python -m lora_loom.studio.builders.strip`.

A few pairs of LoRAs, each drawn without them and with every fusion method, from the same seed.
"""

import torch
from PIL import Image

from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.registry import methods
from lora_loom.studio.builders.contact_sheet import contact_sheet
from lora_loom.studio.pocket import adapters_path
from lora_loom.studio.results import results_folder

PAIRS = (
    (("owlet", "city"), "a purple owlet creature in a city place, flat art"),
    (("crown", "bubbles"), "a blue cat wearing a crown in a bubbles place, flat art"),
    (("floppet", "neon"), "an orange floppet creature at sunset, neon style"),
)
SEED = 4


def main() -> None:
    pipe = FusionPipeline.from_pretrained("pocket")
    pipe.set_progress_bar_config(disable=True)
    tiles: list[Image.Image] = []
    lines: list[list[tuple[str, bool]]] = []
    for names, prompt in PAIRS:
        for name in names:
            pipe.load_lora_weights(str(adapters_path() / f"{name}.safetensors"), adapter_name=name)
        for method in (None, *sorted(methods())):
            if method is None:
                pipe.disable_lora()
            else:
                pipe.enable_lora()
                pipe.set_adapters(list(names), [1.0] * len(names))
            how = {"fusion": method} if method else {}
            generator = torch.Generator().manual_seed(SEED)
            picture = pipe(prompt, num_inference_steps=20, guidance_scale=3.0, generator=generator, **how).images[0]
            tiles.append(picture)
            lines.append([(method or "no LoRA", True), (" + ".join(names), True)])
        pipe.unload_lora_weights()
    contact_sheet(
        tiles, lines, results_folder() / "pocket_compose.png", columns=1 + len(methods()), tile=128, text_lines=2
    )


if __name__ == "__main__":
    main()
