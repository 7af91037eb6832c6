"""What installing takes is counted, and said in the README."""

from lora_loom.studio.bench.installation import STEPS, measured, sentence, size_of


def test_each_step_is_counted_after_the_one_before(tmp_path):
    def make(target):
        (tmp_path / target).write_bytes(b"x" * 3_000_000)

    rows = measured(make, tmp_path)
    assert [(row["asked"], row["megabytes"]) for row in rows] == [
        (asked, 3 * (i + 1)) for i, (asked, _) in enumerate(STEPS)
    ]


def test_a_link_is_not_counted_twice(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert size_of(tmp_path) == 5


def test_the_sentence_rounds_for_people():
    rows = [{"megabytes": 6450, "seconds": 205}, {"megabytes": 7010, "seconds": 41}]
    said = sentence(rows)
    assert "6.5 GB" in said or "6.4 GB" in said
    assert "3.4 minutes" in said
    assert said.endswith("adds 560 MB and less than a minute.")
