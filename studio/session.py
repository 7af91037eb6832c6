"""Studio: the one object every front door calls; it holds the base model, the library and the output folder.

The base model is loaded when it is first needed and only once; LoRAs stay loaded between pictures. One picture is
drawn at a time. Requests name LoRAs as the library does, and nothing is ever put in the place of a LoRA that is
missing or changed.
"""

from __future__ import annotations

import datetime
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines import registry
from lora_loom.pipelines.errors import (
    AdapterFileError,
    AdapterMatchError,
    BaseModelError,
    ChangedAdapterError,
    LoomError,
    RecordError,
    RequestError,
    UnknownAdapterError,
)
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.hooks import StudioHooks
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.library.card import AdapterCard, FileKey
from lora_loom.studio.records.extensions import not_understood
from lora_loom.studio.records.record import GenerationRecord, save_png
from lora_loom.studio.versions import contents_revision, package_versions
from lora_loom.studio.words import Vocabulary

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.families.family import Defaults
    from lora_loom.pipelines.gating.heat_map import HeatMap
    from lora_loom.pipelines.generate import Generated, StepProgress

PARTIAL = "partial_loras"  # the extension of a record that says which LoRAs acted only in part, and in which
MAX_RESIDENT = 32  # LoRAs kept loaded; the one that was not used for longest goes first


@dataclass(frozen=True)
class Asked:
    """Which asking pictures were drawn for: when, in seconds since the epoch, and a name that nothing else has."""

    at: float
    id: str


@dataclass(frozen=True)
class Generation:
    """One picture, how it was made, and the file it was saved to (None if it was not to be saved).

    `gates` is the map of a learned gate by layer, step and LoRA over all pictures of the run, None for a run without.
    """

    image: Image.Image
    record: GenerationRecord
    path: Path | None
    gates: HeatMap | None = None


class Studio:
    """A base model with a library of LoRAs, safe to use from several threads.

    `base_model` is a name, a hub id or a folder. `output_dir` defaults to LOOM_OUTPUTS, else ./outputs. `device`
    and `dtype` default to the accelerator in the family's type if there is one, else the CPU in float32. `hooks` act on
    every picture; with `force` what fits of a LoRA for another base is loaded, too.
    """

    def __init__(
        self,
        base_model: str = "pocket",
        library: AdapterLibrary | None = None,
        output_dir: str | Path | None = None,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        attention: str = "default",
        influence: bool = True,
        hooks: StudioHooks | None = None,
        force: bool = False,
    ) -> None:
        self.base_model = base_model
        self.library = AdapterLibrary(library_roots()) if library is None else library
        self.output_dir = Path(output_dir or os.environ.get("LOOM_OUTPUTS") or "outputs").absolute()
        self.attention = attention
        self.influence = influence  # whether records tell what each LoRA changed, for about a tenth more work
        self.force = force  # whether what fits of a LoRA for another base is loaded; may be set later
        self.hooks = hooks or StudioHooks()  # may be set later: it acts from the next picture on
        self._device, self._dtype = device, dtype
        self._loading, self._drawing = threading.Lock(), threading.Lock()
        self._pipeline: Any = None
        self._revision = ""
        self._resident: dict[tuple[FileKey, bool], Adapter] = {}  # the one used last at the end
        self._vocabulary: Vocabulary | None = None

    @property
    def pipeline(self) -> Any:
        """The base model as a fusion pipeline, loaded at the first call; raises BaseModelError."""
        with self._loading:
            if self._pipeline is None:
                self._pipeline = self._load_pipeline()
            return self._pipeline

    @cached_property
    def defaults(self) -> Defaults:
        """What a request to this base begins with; raises BaseModelError."""
        from lora_loom.pipelines.bases import defaults_of

        return defaults_of(self.base_model)

    @property
    def loaded(self) -> bool:
        """Whether the base model is in memory."""
        return self._pipeline is not None

    @property
    def base_folder(self) -> Path | None:
        """Where the base model lies on this machine, None for one that a hub would have to be asked for."""
        from lora_loom.pipelines.bases import resolve_base

        folder = Path(resolve_base(self.base_model))
        return folder if folder.is_dir() else None

    def in_part(self) -> dict[str, str]:
        """Of the loaded LoRAs those that act only in part, with the summary of what of them does."""
        receipts = {adapter.name: adapter.receipt for adapter in list(self._resident.values())}
        return {name: receipt.summary() for name, receipt in receipts.items() if receipt.partial}

    def check(self, request: GenerationRequest) -> None:
        """Raise what `generate` would raise before drawing: an unknown LoRA, method, setting or another base model."""
        if request.base_model != self.base_model:
            raise BaseModelError(
                f"this studio draws with the base model {self.base_model}",
                expected=self.base_model,
                found=request.base_model,
                remedy=f"open a studio with --base {request.base_model}",
            )
        registry.create(request.method, request.settings)
        for choice in request.adapters:
            self.library.find(choice.name)

    def generate(
        self,
        request: GenerationRequest,
        on_step: Callable[[StepProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        *,
        save: bool = True,
        asked: Asked | None = None,
    ) -> list[Generation]:
        """Draw the pictures of `request`; with `save` each goes to a new PNG in `output_dir`, with its record.

        With `asked` the files are named by it, so that drawing again what was drawn before leaves one file of each.
        `cancelled` is asked at every step. Raises LoomError: UnknownAdapterError with the closest names,
        AdapterFileError, AdapterMatchError, SettingError, RequestError, OutputError, CancelledError and so on.
        """
        return self._generate(self.hooks.request(request), on_step, cancelled, save=save, asked=asked)

    def _generate(
        self,
        request: GenerationRequest,
        on_step: Callable[[StepProgress], None] | None,
        cancelled: Callable[[], bool] | None,
        *,
        save: bool,
        asked: Asked | None = None,
    ) -> list[Generation]:
        self.check(request)
        pipeline = self.pipeline  # imports what is heavy under its lock: two threads that do so at once fail

        from lora_loom.pipelines.generate import generate

        with self._drawing:
            adapters = {choice.name: self._adapter(choice) for choice in request.adapters}
            made = generate(pipeline, request, adapters, on_step=on_step, cancelled=cancelled, influence=self.influence)
        generations: list[Generation] = []
        for index, image in enumerate(made.images):
            image, record = self.hooks.picture(image, self._record(request, adapters, made, made.seconds, index))
            path = save_png(image, record, self.output_dir / _file_name(record, asked)) if save else None
            generations.append(Generation(image, record, path, made.gates))
        return generations

    def generate_batch(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Draw requests that differ in prompt, negative prompt and seed only as one batch, without saving.

        The records hold each picture's share of the seconds. Raises what `generate` raises.
        """
        requests = [self.hooks.request(request) for request in requests]
        self.check(requests[0])
        pipeline = self.pipeline

        from lora_loom.pipelines.generate import generate_batch

        with self._drawing:
            adapters = {choice.name: self._adapter(choice) for choice in requests[0].adapters}
            made = generate_batch(pipeline, requests, adapters)
        share = made.seconds / len(requests)
        return [
            Generation(*self.hooks.picture(image, self._record(request, adapters, made, share)), None)
            for request, image in zip(requests, made.images, strict=True)
        ]

    def preview(self, progress: StepProgress) -> Image.Image:
        """The picture as it stands after a step, quickly decoded."""
        from lora_loom.pipelines.generate import preview

        return preview(self.pipeline, progress.latents)

    def differences(self, record: GenerationRecord) -> list[LoomError]:
        """Why this studio cannot make the recorded picture again: each missing or changed LoRA, another base model,
        what a newer Loom asked for.
        """
        found: list[LoomError] = []
        if record.request.base_model != self.base_model:
            found.append(
                BaseModelError(
                    "the picture was made with another base model",
                    expected=record.request.base_model,
                    found=self.base_model,
                    remedy=f"open a studio with --base {record.request.base_model}",
                )
            )
        elif record.base_model_revision not in ("", self.base_revision()):
            found.append(
                BaseModelError(
                    f"the base model {self.base_model} has changed since the picture was made",
                    expected=f"revision {record.base_model_revision}",
                    found=self.base_revision() or "a base model that is not on this machine",
                    remedy="put the files back that were used, or make a new picture with those there are",
                )
            )
        for name, sha256 in record.adapter_sha256.items():
            try:
                card = self.library.find(name)
                if card.sha256 != sha256:
                    found.append(_changed(card, sha256))
            except UnknownAdapterError as error:
                expected = f"the file with SHA-256 {sha256[:12]}"
                found.append(UnknownAdapterError(error.what, expected=expected, found=error.found, remedy=error.remedy))
            except AdapterFileError as error:
                found.append(error)
        if strange := not_understood(record.extensions, "request"):
            found.append(
                RecordError(
                    "a newer Loom asked for more than this one knows",
                    found=", ".join(strange),
                    remedy="update Loom to make the same picture; what is understood makes one like it",
                )
            )
        return found

    def reproduce(
        self,
        record: GenerationRecord,
        on_step: Callable[[StepProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        *,
        save: bool = True,
    ) -> list[Generation]:
        """Make the pictures of a record again; raises the first of `differences`, if there are any."""
        for difference in self.differences(record):
            raise difference
        return self._generate(record.request, on_step, cancelled, save=save)  # nothing is proposed anew

    @property
    def vocabulary(self) -> Vocabulary:
        """The words the base model knows; empty where it spells out every word or its files are not on this machine."""
        if self._vocabulary is None:
            folder = self.base_folder
            self._vocabulary = Vocabulary.of_base(folder) if folder else Vocabulary()
        return self._vocabulary

    def _record(
        self,
        request: GenerationRequest,
        adapters: Mapping[str, Adapter],
        made: Generated,
        seconds: float,
        image_index: int = 0,
    ) -> GenerationRecord:
        receipts = {name: adapter.receipt for name, adapter in adapters.items()}
        partial = {name: receipt.summary() for name, receipt in receipts.items() if receipt.partial}
        settings = registry.create(request.method, request.settings).settings  # a later default changes no old picture
        return GenerationRecord(
            request=replace(request, settings=settings),
            adapter_sha256={name: adapter.sha256 for name, adapter in adapters.items()},
            base_model_revision=self._revision,
            package_versions=package_versions(),
            device=str(self.pipeline.device),
            dtype=str(self.pipeline.dtype).removeprefix("torch."),
            attention=self.attention,
            seconds=seconds,
            passes=made.passes,
            peak_memory_bytes=made.peak_memory_bytes,
            influence={name: each.to_dict() for name, each in made.influence.items()},
            cost=made.cost,
            gates={} if made.gates is None else made.gates.pooled().to_dict(),
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            image_index=image_index,
            extensions={PARTIAL: partial} if partial else {},
        )

    def _load_pipeline(self) -> Any:
        import torch

        from lora_loom.pipelines.attention import use_attention
        from lora_loom.pipelines.families import FusionPipeline
        from lora_loom.pipelines.generate import generate as _  # noqa: F401 - here and not in two threads at once

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        names = ("float32",) if device == "cpu" else self.defaults.dtypes
        dtype = self._dtype or getattr(torch, names[0])
        pipeline = FusionPipeline.from_pretrained(self.base_model, dtype=dtype).to(device)
        use_attention(pipeline, self.attention)
        pipeline.set_progress_bar_config(disable=True)
        self._revision = self.base_revision()
        return pipeline

    def base_revision(self) -> str:
        """A name for the contents of the base model's files, empty for one that is not on this machine."""
        from lora_loom.pipelines.bases import resolve_base

        location = Path(resolve_base(self.base_model))
        return contents_revision(location) if location.exists() else ""

    def _adapter(self, choice: AdapterChoice) -> Adapter:
        """The LoRA of that name, loaded for the base model; kept until its file changes."""
        from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
        from lora_loom.pipelines.adapters.match import BY_FORCE

        card, force = self.library.find(choice.name), self.force or choice.forced
        key = card.file_key, force
        adapter = self._resident.pop(key, None)
        if adapter is None or adapter.name != choice.name:
            target = BaseTarget.from_pipeline(self.pipeline)
            try:
                adapter = load_adapter(card.path, name=choice.name, target=target, force=force)
            except AdapterMatchError as error:
                error.by_force = choice.name if BY_FORCE in error.remedy else ""
                raise
        self._resident[key] = adapter
        while len(self._resident) > MAX_RESIDENT:
            del self._resident[next(iter(self._resident))]
        return adapter


def library_roots(folders: Iterable[str | Path] = ()) -> list[Path]:
    """The folders to look for LoRAs in: those given, those of LOOM_LIBRARY, and the pocket world's own."""
    from lora_loom.studio.pocket import adapters_path

    named = [Path(folder) for folder in folders]
    named += [Path(folder) for folder in os.environ.get("LOOM_LIBRARY", "").split(os.pathsep) if folder]
    for folder in named:
        if not folder.is_dir():
            raise RequestError(
                f"the library folder {folder} is not there",
                expected="a folder with .safetensors files",
                remedy="check the path",
            )
    return [*named, adapters_path()]


def _changed(card: AdapterCard, recorded: str) -> ChangedAdapterError:
    return ChangedAdapterError(
        f"the LoRA {card.name} has changed since the picture was made",
        expected=f"SHA-256 {recorded[:12]}",
        found=f"{card.sha256[:12]} in {card.path.name}",
        remedy="put the file back that was used, or make a new picture with the one there is",
    )


def _file_name(record: GenerationRecord, asked: Asked | None = None) -> str:
    """A file name that sorts by time, a new one without `asked`: 20261123-051706-seed42-3f9a.png."""
    when = datetime.datetime.fromtimestamp(asked.at) if asked else datetime.datetime.now()
    mark = f"{asked.id}-{record.image_index}" if asked else secrets.token_hex(2)
    return f"{when.strftime('%Y%m%d-%H%M%S')}-seed{record.seed}-{mark}.png"
