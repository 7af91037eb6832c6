"""Train the sealed judge: `python -m studio.pocket.build.sealed_judge --work DIR`; see `judge` beside it."""

from studio.pocket.build.judge import main

if __name__ == "__main__":
    main("sealed")
