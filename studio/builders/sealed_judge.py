"""Train the sealed judge: `python -m lora_loom.studio.builders.sealed_judge --work DIR`; see `judge` beside it."""

from lora_loom.studio.builders.judge import main

if __name__ == "__main__":
    main("sealed")
