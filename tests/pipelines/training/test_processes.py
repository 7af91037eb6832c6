"""Two processes train the very LoRA that one trains with twice the accumulation."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lora_loom.pipelines.training.lora import train_lora

SCRIPT = """
import json, sys
from pathlib import Path
from PIL import Image
from lora_loom.pipelines.training import LoraTraining, train_lora

settings, base, out = LoraTraining(**json.loads(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
pictures = [(Image.open(path), "a picture") for path in sorted(Path(sys.argv[4]).glob("*.bmp"))]
print(f"loss={train_lora(settings, pictures, base, out).final_loss}")
"""


@pytest.mark.slow
def test_two_processes_equal_twice_the_accumulation(pipe, pictures, quick, tmp_path):
    for index, (picture, _) in enumerate(pictures):
        picture.save(tmp_path / f"{index}.bmp")
    pipe.save_pretrained(tmp_path / "base")
    (tmp_path / "script.py").write_text(SCRIPT)
    shared = replace(quick, prior_weight=1.0, prior_images=2, file_type="float32")
    alone = train_lora(
        replace(shared, accumulation=2),
        [(picture, "a picture") for picture, _ in pictures],
        pipe,
        tmp_path / "a.safetensors",
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "script.py"]
    values = [json.dumps(shared.to_dict()), "base", "b.safetensors", "."]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [*command, *values], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr
    one, two = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    for key in one:
        torch.testing.assert_close(one[key], two[key], atol=1e-6, rtol=1e-6)
    losses = [float(line.removeprefix("loss=")) for line in done.stdout.splitlines() if line.startswith("loss=")]
    assert losses == pytest.approx([alone.final_loss] * 2)
