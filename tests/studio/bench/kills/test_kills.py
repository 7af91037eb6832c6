"""Whatever is killed while it draws: all that was accepted is drawn once or cancelled, none is lost.

The full measure is `python -m lora_loom.studio.bench.kills`, which writes docs/results/kills.json.
"""

import pytest

from lora_loom.studio.bench.kills import of_batch, of_studio

pytestmark = [pytest.mark.timeout(1800)]
OUTCOME = ("failed", "given_up", "lost", "twice", "half_written", "holds")
UNHARMED = (0, 0, 0, 0, 0, True)


@pytest.mark.parametrize(
    ("kills", "jobs"),
    [pytest.param(2, 10, marks=pytest.mark.long), pytest.param(30, 60, marks=pytest.mark.slow)],
)
def test_a_studio_that_is_killed_draws_its_queue_to_the_end(tmp_path, tiny_pocket, kills, jobs):
    row = of_studio.measure(tmp_path, kills=kills, jobs=jobs, base=str(tiny_pocket))
    assert row["kills"] > 0
    assert row["drawn"] == jobs - jobs // 10
    assert row["cancelled"] == jobs // 10
    assert tuple(row[name] for name in OUTCOME) == UNHARMED


@pytest.mark.parametrize(
    ("kills", "pictures"),
    [pytest.param(3, 16, marks=pytest.mark.long), pytest.param(70, 160, marks=pytest.mark.slow)],
)
def test_workers_that_are_killed_harm_no_picture(tmp_path, tiny_pocket, kills, pictures):
    row = of_batch.measure(tmp_path, kills=kills, pictures=pictures, base=str(tiny_pocket))
    assert row["kills"] > 0
    assert row["drawn"] == pictures
    assert tuple(row[name] for name in OUTCOME) == UNHARMED
