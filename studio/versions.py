"""The versions of what a result depends on: packages, read without importing any of them, and a base model's files."""

from __future__ import annotations

import functools
import hashlib
import platform
from importlib import metadata
from pathlib import Path

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


def contents_revision(model: Path) -> str:
    """A name for the contents of a model's folder or file: SHA-256 over names, sizes and first megabytes, 16 digits."""
    digest = hashlib.sha256()
    files = (path for path in model.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors"))
    for path in sorted(files) if model.is_dir() else (model,):
        with path.open("rb") as file:
            head = file.read(2**20)
        digest.update(f"{path.relative_to(model).as_posix()}|{path.stat().st_size}|".encode())
        digest.update(hashlib.sha256(head).digest())
    return digest.hexdigest()[:16]
