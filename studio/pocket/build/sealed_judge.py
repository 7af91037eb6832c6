"""Train the sealed judge: `python -m lora_loom.studio.pocket.build.sealed_judge --work DIR`; see `judge` beside it."""

from lora_loom.studio.pocket.build.judge import main

if __name__ == "__main__":
    main("sealed")
