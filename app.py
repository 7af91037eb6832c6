"""Starts the studio: `python app.py [--host HOST] [--port PORT] ...`, the same as `loom studio`."""

import sys

from lora_loom.studio.cli.application import build


def main() -> None:
    build()(["studio", *sys.argv[1:]])


if __name__ == "__main__":
    main()
