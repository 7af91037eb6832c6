"""From a suite to its pictures: every prompt in every cell of the grid, with its seeds and the files it is made of."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lora_loom.pipelines.errors import AdapterFileError, LoomError, SuiteError
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import GenerationRequest, SettingValue
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.prompts.prompt_row import PromptRow
from lora_loom.studio.batch.prompts.reading import bad_rows, read_prompts
from lora_loom.studio.batch.seeds import hashed_seed
from lora_loom.studio.batch.suite import Suite
from lora_loom.studio.library.adapter_library import AdapterLibrary


def pictures_of(
    suite: Suite, library: AdapterLibrary, base_model_revision: str = "", *, force: bool = False
) -> list[Picture]:
    """All pictures of the suite, prompt by prompt; with `force` all LoRAs are forced. Raises SuiteError for rows that
    cannot be drawn and for twins.
    """

    @functools.cache
    def sha256_of(name: str) -> str:
        card = library.find(name)
        if card.problem:
            raise AdapterFileError(f"the LoRA {name} cannot be used", path=card.path, found=card.problem)
        return card.sha256

    pictures: list[Picture] = []
    bad: list[tuple[int, str]] = []
    for row in read_prompts(suite.prompts, suite.run_seed):
        try:
            pictures += _of_row(suite, row, sha256_of, base_model_revision, force=force)
        except LoomError as error:
            bad.append((row.line, str(error)))
    if bad:
        raise bad_rows(suite.prompts.file.name if suite.prompts.file else "the suite", bad)
    seen: dict[str, Picture] = {}
    for picture in pictures:
        if picture.uid in seen:
            raise SuiteError(
                f"the suite asks for one picture twice: {picture.prompt_id}, sample {picture.sample_index}",
                found=f"method {picture.request.method}, seed {picture.request.seed}",
                remedy="Remove what is listed twice among lora_sets, methods, seeds or [request]",
            )
        seen[picture.uid] = picture
    return pictures


def _of_row(
    suite: Suite, row: PromptRow, sha256_of: Callable[[str], str], revision: str, *, force: bool
) -> Iterator[Picture]:
    for cell in _cells(suite, row):
        if force:
            cell["adapters"] = tuple(replace(choice, forced=True) for choice in cell["adapters"])
        _check_method(cell["method"], tuple(cell["settings"].items()))
        hashes = {choice.name: sha256_of(choice.name) for choice in cell["adapters"]}
        for index, seed in enumerate(_seeds(suite, row)):
            request = GenerationRequest(prompt=row.prompt, base_model=suite.base_model, seed=seed, **cell)
            yield Picture(row.id, index, request, hashes, revision, row.expected, row.metadata)


@functools.cache
def _check_method(method: str, settings: tuple[tuple[str, SettingValue], ...]) -> None:
    create(method, dict(settings))


def _cells(suite: Suite, row: PromptRow) -> Iterator[dict[str, Any]]:
    """The fields of the request in every cell of the grid; what the row says itself is no axis."""
    own: Mapping[str, Any] = row.asked
    lora_sets = (own["adapters"],) if "adapters" in own else suite.lora_sets
    methods = ((own["method"], own.get("settings", {})),) if "method" in own else suite.methods
    axes = {key: (own[key],) if key in own else values for key, values in suite.request.items()}
    axes |= {key: (value,) for key, value in own.items() if key not in ("adapters", "method", "settings")}
    for adapters, (method, settings), *values in itertools.product(lora_sets, methods, *axes.values()):
        fields = dict(zip(axes, values, strict=True))
        yield {"adapters": adapters, "method": method, "settings": settings, **fields}


def _seeds(suite: Suite, row: PromptRow) -> tuple[int, ...]:
    explicit = row.seeds if row.seeds is not None else suite.seeds
    if row.n is None and explicit is not None:
        return explicit
    count = suite.samples if row.n is None else row.n
    hashed = tuple(hashed_seed(suite.run_seed, row.id, index) for index in range(count))
    return explicit[:count] + hashed[len(explicit) :] if explicit is not None else hashed
