"""The example package adds a method and a metric once it is installed, without a line of Loom being changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python code where the package is installed, and gives what it printed."""
    installed = tmp_path_factory.mktemp("installed")
    copy = tmp_path_factory.mktemp("package")  # building leaves files beside the sources
    for path in PACKAGE.rglob("*"):
        if path.suffix in (".py", ".toml"):
            target = copy / path.relative_to(PACKAGE)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(installed), str(copy)], check=True, capture_output=True, timeout=200)
    environment = os.environ | {"PYTHONPATH": str(installed)}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False, timeout=200
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_method_is_in_the_list_with_its_setting(python):
    code = "from lora_loom.studio.cli import main; main()"
    methods = {each["name"] for each in json.loads(python("-c", code, "methods", "--json"))["methods"]}
    assert {"handover", "merge"} <= methods
    help_text = python("-c", code, "generate", "--help")
    assert "--handover-at" in help_text


@pytest.mark.long
def test_the_method_draws(python):
    code = """
from lora_loom import Studio
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
lora = AdapterChoice("owlet"), AdapterChoice("crown", 0.8)
request = GenerationRequest("an owlet", adapters=lora, method="handover", settings={"at": 0.5}, num_inference_steps=2)
(made,) = Studio().generate(request, save=False)
print(made.record.request.method, made.image.size)
"""
    assert python("-c", code).strip().endswith("handover (128, 128)")


@pytest.mark.long
def test_the_metric_measures(python):
    code = """
import numpy as np
from lora_loom.studio.evaluation.metric import Batch, Sample
from lora_loom.studio.evaluation.registry import find_metric
metric = find_metric("brightness")()
metric.update(Batch([Sample("a"), Sample("b")], pixels=np.stack([np.zeros((2, 2, 3)), np.full((2, 2, 3), 255)])))
(result,) = metric.compute()
print(result.value, result.ci_low, result.n)
"""
    assert python("-c", code).split() == ["0.5", "None", "2"]
