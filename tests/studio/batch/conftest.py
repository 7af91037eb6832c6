"""Planned batches over two LoRAs, and a studio that draws flat pictures at once or fails as it is told."""

import hashlib
from types import SimpleNamespace

import pytest
from PIL import Image

from lora_loom.studio.batch.folder import open_batch
from lora_loom.studio.batch.plan import plan_batch
from lora_loom.studio.batch.suite import read_suite
from lora_loom.studio.batch.worker import Worker, WorkerOptions
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.session import Generation

SUITE = """
samples = 3
prompts = ["a red circle", "a blue star"]
lora_sets = [["fox:1", "ink:0.8"], []]
methods = ["merge", {name = "switch", settings = {switch_every = [1, 2]}}]
batch_size = 2
[request]
num_inference_steps = 2
"""


class FlatStudio:
    """Draws every picture in a colour of its prompt and seed; `before` hears the requests and may raise."""

    def __init__(self, library):
        self.library = library
        self.pipeline = SimpleNamespace(device=SimpleNamespace(type="cpu"))
        self.before = lambda requests: None
        self.drawn = []

    def generate_batch(self, requests):
        self.before(requests)
        self.drawn.append([request.prompt for request in requests])
        made = []
        for request in requests:
            colour = tuple(hashlib.sha256(f"{request.to_json()}".encode()).digest()[:3])
            hashes = {choice.name: self.library.find(choice.name).sha256 for choice in request.adapters}
            record = GenerationRecord(request, adapter_sha256=hashes, seconds=0.1, passes={"full": 2})
            made.append(Generation(Image.new("RGB", (16, 16), colour), record, None))
        return made


@pytest.fixture(scope="session")
def loras(tmp_path_factory, write_lora):
    """A folder with the LoRAs fox and ink."""
    folder = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate(("fox", "ink")):
        write_lora(folder / f"{name}.safetensors", seed=seed)
    return folder


@pytest.fixture
def plan(tmp_path, loras):
    """Plans a suite, given as TOML, into a folder; there is no base model, so none is checked."""

    def make(text=SUITE, folder="batch", base="some/base"):
        path = tmp_path / "suite.toml"
        path.write_text(f'base_model = "{base}"\n{text}')
        return plan_batch(read_suite(path), tmp_path / folder, [loras])

    return make


@pytest.fixture
def flat_studio(loras):
    return FlatStudio(AdapterLibrary([loras]))


@pytest.fixture
def work(flat_studio):
    """Draws a batch in this process with the flat studio, until it is done or `stop` says so."""

    def run(batch, *, stop=lambda: False, **options):
        batch = open_batch(batch.folder)
        with Worker(batch, flat_studio, WorkerOptions(**options), stop) as worker:
            worker.run()
        return batch

    return run
