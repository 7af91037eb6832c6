"""Changed inputs keep their outer form, and are led to by nothing but the seed."""

import json
import random

import pytest

from lora_loom.pipelines.errors import AdapterFileError, RecordError
from lora_loom.studio.bench.fuzz.leg import _timed, _too_slow, _TooSlowError
from lora_loom.studio.bench.fuzz.mutations import CHANGES
from lora_loom.studio.bench.fuzz.parsers import PARSERS
from lora_loom.studio.bench.fuzz.seeds import seeds_of


def test_every_seed_is_accepted_by_its_parser(tmp_path):
    for parser in PARSERS:
        folder = tmp_path / parser.name
        folder.mkdir()
        take = parser.prepare(folder)
        for seed in seeds_of(parser.name):
            take(seed)  # otherwise it raises


def test_the_same_seed_gives_the_same_changes_and_they_differ():
    for name, change in CHANGES.items():
        seeds = seeds_of(name)
        changed = [change(seed, random.Random(number)) for seed in seeds for number in range(20)]
        assert changed == [change(seed, random.Random(number)) for seed in seeds for number in range(20)]
        assert len({*changed} - {*seeds}) > 10


def test_changed_files_still_tile_and_checksums_still_hold(tmp_path):
    from lora_loom.pipelines.adapters.safetensors_file import read_header
    from lora_loom.studio.records.png_text import read_text

    path, rng = tmp_path / "file", random.Random(0)
    refused = []
    for _ in range(300):
        path.write_bytes(CHANGES["reader"](rng.choice(seeds_of("reader")[:3]), rng))
        try:
            read_header(path)
        except AdapterFileError as error:
            refused.append(error.what)
    seed = seeds_of("png")[0]
    for _ in range(100):
        path.write_bytes(CHANGES["png"](seed, rng))
        try:
            read_text(path, "loom")
        except RecordError as error:
            refused.append(error.found)
    forms = ("hole", "overlapping", "truncated", "belong to no tensor", "checksum")
    assert not [what for what in refused if any(form in what for form in forms)]


def test_json_stays_json():
    for number in range(300):
        changed = CHANGES["metadata"](seeds_of("metadata")[number % 2], random.Random(number))
        json.loads(changed.decode("utf-8", "surrogatepass"))


def test_an_input_that_computes_too_long_is_stopped(monkeypatch):
    import signal

    from lora_loom.studio.bench.fuzz import leg

    def endless(data):
        while data:
            pass

    monkeypatch.setattr(leg, "CPU_SECONDS", 0.05)
    former = signal.signal(signal.SIGPROF, _too_slow)
    try:
        with pytest.raises(_TooSlowError):
            _timed(endless, b"x")
        _timed(endless, b"")
    finally:
        signal.signal(signal.SIGPROF, former)
