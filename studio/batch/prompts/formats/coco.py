"""COCO captions: an annotation file such as captions_val2014.json; every caption is a row (1504.00325).

The usual FID set is 30,000 captions of val2014: `sample = 30000` in the suite draws them by hash, so that the same
file and run seed always give the same list.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import SuiteError
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow


def read(path: Path) -> Iterator[RawRow]:
    try:
        held = parse_json(path.read_bytes(), pairs=50_000_000)
        annotations = list(held["annotations"])
        images = {image["id"]: image["file_name"] for image in held.get("images", ())}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SuiteError(
            f"{path.name} is not a file of COCO captions",
            expected='an object with a list "annotations" of {image_id, id, caption}',
            found=f"{type(error).__name__}: {str(error)[:100]}",
        ) from error
    for number, each in enumerate(annotations, start=1):
        try:
            metadata = {"image_id": each["image_id"], "image_file_name": images.get(each["image_id"], "")}
            yield number, {"id": f"coco-{each['id']}", "prompt": each["caption"].strip(), "metadata": metadata}
        except (KeyError, TypeError, AttributeError):
            yield number, "an annotation without image_id, id and caption"


FORMAT = PromptFormat("coco", read, file_name="captions_val2014.json", source="https://cocodataset.org/#download")
