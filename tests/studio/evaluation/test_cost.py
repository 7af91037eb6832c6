"""The cost of pictures from their rows."""

from lora_loom.studio.evaluation.cost import Cost, cost_of
from lora_loom.studio.evaluation.metric import Sample


def test_means_over_those_that_tell():
    rows = [
        {"seconds": 2.0, "num_inference_steps": 10, "passes": {"full": 10, "delta": 20}, "peak_memory_bytes": 100},
        {"latency": 4.0, "num_inference_steps": 10, "passes": {"full": 30}},
        {"file_name": "x.png"},
    ]
    found = cost_of(Sample(str(i), row=row) for i, row in enumerate(rows))
    assert found == Cost(seconds=3.0, passes_per_step=2.0, replays_per_step=1.0, peak_memory_bytes=100.0)
    assert cost_of([]) == Cost()
