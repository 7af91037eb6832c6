"""The versions of the packages that a result depends on, read without importing any of them."""

from __future__ import annotations

import functools
import platform
from importlib import metadata

PACKAGES = ("lora-loom", "torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow")


def package_versions() -> dict[str, str]:
    """Version by package, with `python` first; a package that is not installed is left out."""
    return dict(_versions())


@functools.cache  # reading them takes milliseconds, and every picture records them
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
