"""Planning: a suite becomes a folder with a frozen manifest; the same suite planned again finds its own plan there."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import BatchError
from lora_loom.studio.batch.folder import FORMAT, Batch, BatchInfo, info_of, manifest_of, open_batch, read_info
from lora_loom.studio.batch.grid import pictures_of
from lora_loom.studio.batch.shards import shard_size, sharded
from lora_loom.studio.batch.suite import Suite
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.session import Studio, library_roots
from lora_loom.studio.versions import package_versions


def plan_batch(suite: Suite, folder: Path, library: Sequence[str | Path] = (), *, force: bool = False) -> Batch:
    """Write the plan of the suite into the folder and open it.

    `library` are folders of LoRAs beside those that the suite names; with `force` what fits of LoRAs for another base
    is loaded. Planning the same again changes nothing. Raises SuiteError for what cannot be planned, BatchError for a
    folder that holds anything else.
    """
    roots = library_roots([*suite.library, *library])
    adapters = AdapterLibrary(roots)
    revision = Studio(suite.base_model, adapters, folder).base_revision()
    pictures = pictures_of(suite, adapters, revision, force=force)
    pictures = sharded(pictures, shard_size(len(pictures), suite.picture_seconds, suite.batch_size))
    manifest = "".join(f"{json.dumps(picture.to_dict(), ensure_ascii=False)}\n" for picture in pictures).encode()
    info = BatchInfo(
        name=suite.name,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        pictures=len(pictures),
        shards=pictures[-1].shard + 1,
        layout=suite.layout,
        base_model=suite.base_model,
        base_model_revision=revision,
        library=tuple(str(root) for root in adapters.roots),
        batch_size=suite.batch_size,
        picture_seconds=suite.picture_seconds,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=package_versions(),
    )
    _check_folder(folder, info)
    if not info_of(folder).exists():
        with atomic_file(manifest_of(folder)) as file:
            file.write(manifest)
        with atomic_file(info_of(folder)) as file:
            file.write(json.dumps({"format": FORMAT, **asdict(info)}, indent=1, ensure_ascii=False).encode())
    return open_batch(folder)


def _check_folder(folder: Path, info: BatchInfo) -> None:
    """Raise BatchError unless the folder is new, empty, or holds this very plan or one that broke off."""
    if info_of(folder).exists():
        planned = read_info(folder)
        if (planned.manifest_sha256, planned.layout) != (info.manifest_sha256, info.layout):
            raise BatchError(
                f"{folder} holds another batch: {planned.name}, {planned.pictures} pictures",
                expected=f"plan {planned.id} of {planned.created_at}",
                found=f"plan {info.id}: the suite, its prompts, a LoRA or the base model is not what it was",
                remedy="Plan into another folder; `loom batch run` on this one goes on with its own plan",
            )
    elif folder.is_dir():
        strange = [path.name for path in folder.iterdir() if path != manifest_of(folder) and path.suffix != ".part"]
        if strange:
            raise BatchError(
                f"{folder} is not empty", found=", ".join(sorted(strange)[:5]), remedy="Choose a new folder"
            )
    elif folder.exists():
        raise BatchError(f"{folder} is not a folder", remedy="Choose a new folder")
