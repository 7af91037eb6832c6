"""The packages of the wheel: the folders at the top of the repository, installed inside lora_loom."""

from setuptools import find_packages, setup

FOLDERS = ("pipelines", "retrieval", "watermark", "studio")
FOUND = find_packages(include=[*FOLDERS, *(f"{folder}.*" for folder in FOLDERS)])

setup(
    packages=["lora_loom", *(f"lora_loom.{name}" for name in FOUND)],
    package_dir={"lora_loom": "lora_loom", **{f"lora_loom.{folder}": folder for folder in FOLDERS}},
)
