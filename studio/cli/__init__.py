"""The command line `loom`: one file per command, found by reading this folder."""


def main() -> None:
    """Run `loom` with the arguments of this process and exit."""
    from lora_loom.studio.cli.application import build

    build()()
