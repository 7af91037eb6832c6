"""The parsers that are fuzzed: each takes bytes, and may refuse them by the errors that its callers expect."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_loom.pipelines.errors import LoomError

Take = Callable[[bytes], object]


@dataclass(frozen=True)
class Parser:
    """A parser by name: `prepare(folder)` gives what takes one input, where `folder` is for files of its own.

    `group` is what it counts towards, `refusals` are the errors that are answers and not faults.
    """

    name: str
    group: str
    what: str
    prepare: Callable[[Path], Take]
    refusals: tuple[type[Exception], ...] = field(default=(LoomError,))


def parser_named(name: str) -> Parser:
    """The parser of that name; raises KeyError."""
    return {parser.name: parser for parser in PARSERS}[name]


def tiny_target() -> object:
    """A base of two layers and a text encoder, without a family: the files of the seeds fit it."""
    from torch import nn

    from lora_loom.pipelines.adapters.target import BaseTarget

    block = nn.ModuleDict({"to_q": nn.Linear(4, 4), "to_k": nn.Linear(4, 4), "conv": nn.Conv2d(4, 4, 3)})
    encoder = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(4, 4)})])})
    return BaseTarget.from_modules({"denoiser": nn.ModuleDict({"mid_block": block}), "text_encoder": encoder})


def _header(folder: Path) -> Take:
    from lora_loom.pipelines.adapters.safetensors_file import read_header

    return _from_file(folder / "lora.safetensors", read_header)


def _reader(folder: Path) -> Take:
    import torch

    from lora_loom.pipelines.adapters.load import BaseTarget, inspect_adapter, load_adapter

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what acts in part says so
    target = tiny_target()
    assert isinstance(target, BaseTarget)

    path = folder / "lora.safetensors"

    def take(data: bytes) -> object:
        path.write_bytes(data)
        if len(data) % 8 == 0:  # it shares all but its end with loading: some inputs are enough
            inspect_adapter(path).summary()
        return load_adapter(path, name="fuzz", target=target)

    return take


def _metadata(folder: Path) -> Take:
    from lora_loom.pipelines.adapters.base_family import detect_base_family
    from lora_loom.pipelines.adapters.scales import peft_scales, trained_as_dora
    from lora_loom.pipelines.checked_json import parse_object
    from lora_loom.studio.sidecars import read_notes

    path = folder / "lora.safetensors"

    def take(data: bytes) -> object:
        try:
            metadata = {key: str(value) for key, value in parse_object(data).items()}
        except ValueError:
            metadata = {"lora_adapter_metadata": data.decode("utf-8", "replace")}
        detect_base_family([], {}, metadata)
        trained_as_dora(metadata)
        read_notes(path, metadata)
        for scales in peft_scales(metadata, path).values():
            try:
                scales.of("mid_block.to_q", 4)
            except ValueError:  # the reader of files turns it into an error of the file
                continue
        return metadata

    return take


def _sidecars(folder: Path) -> Take:
    from lora_loom.studio.sidecars import SIDECAR_SUFFIXES, read_notes

    path = folder / "lora.safetensors"

    def take(data: bytes) -> object:
        for suffix in SIDECAR_SUFFIXES:
            path.with_suffix(suffix).write_bytes(data)
        return read_notes(path, {})

    return take


def _png(folder: Path) -> Take:
    from lora_loom.studio.records.a1111 import parameters
    from lora_loom.studio.records.png_text import read_text
    from lora_loom.studio.records.record import read_record

    def read(path: Path) -> object:
        read_text(path, "parameters")
        record = read_record(path)
        parameters(record.request, record.adapter_sha256, seed=record.seed, width=8, height=8, version="")
        return record.to_dict()

    return _from_file(folder / "picture.png", read)


def _suites(folder: Path) -> Take:
    from lora_loom.studio.batch.suite import read_suite

    return _from_file(folder / "suite.toml", read_suite)


def _prompts(folder: Path) -> Take:
    from lora_loom.studio.batch.prompts.reading import PromptSource, read_prompts

    kinds = (("txt", ""), ("csv", ""), ("tsv", ""), ("jsonl", ""), ("json", "coco"))  # the first byte says which

    def take(data: bytes) -> object:
        suffix, kind = kinds[(data[0] if data else 0) % len(kinds)]
        path = folder / f"prompts.{suffix}"
        path.write_bytes(data[1:])
        return read_prompts(PromptSource(file=path, format=kind))

    return take


def _prompt_syntax(folder: Path) -> Take:
    from lora_loom.pipelines.requests.prompt_syntax import prompt_notices, split_prompt

    def take(data: bytes) -> object:
        text = data.decode("utf-8", "replace")
        prompt_notices(text)
        return split_prompt(text)

    return take


def _jobs(folder: Path) -> Take:
    from lora_loom.pipelines.request import GenerationRequest
    from lora_loom.studio.jobs.store import JobStore

    path = folder / "jobs.sqlite"
    JobStore(path).add(GenerationRequest(prompt="a fox"))

    def take(data: bytes) -> object:
        import sqlite3

        request, error, outputs = [*data.split(b"\0", 2), b"{}", b"[]"][:3]
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("DELETE FROM jobs")
            connection.execute(
                "INSERT INTO jobs (id, owner, request, state, phase, created_at, error, outputs)"
                " VALUES ('a', '', CAST(? AS TEXT), 'queued', 'waiting', 0, CAST(? AS TEXT), CAST(? AS TEXT))",
                (request, error, outputs),
            )
        connection.close()
        store = JobStore(path)
        try:
            if store.notice:
                raise LoomError(store.notice)
            return store.latest()
        finally:
            store.close()

    return take


def _from_file(path: Path, read: Callable[[Path], object]) -> Take:
    def take(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return take


PARSERS: Sequence[Parser] = (
    Parser("reader", "reader", "a LoRA file: recognised, checked, and turned into factors", _reader),
    Parser("header", "metadata", "the header of a safetensors file", _header),
    Parser("metadata", "metadata", "texts in the header: notes, scales, the family", _metadata),
    Parser("sidecars", "metadata", "the three kinds of JSON beside a LoRA", _sidecars),
    Parser("png", "metadata", "the texts and the record of a PNG", _png),
    Parser("suites", "metadata", "a suite of a batch", _suites),
    Parser("prompts", "metadata", "a file of prompts: txt, csv, tsv, jsonl, json", _prompts),
    Parser("prompt_syntax", "metadata", "tags and signs in a prompt", _prompt_syntax),
    Parser("jobs", "metadata", "a row of the list of jobs", _jobs),
)
