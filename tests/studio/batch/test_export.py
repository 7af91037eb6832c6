"""Exports hold the chosen pictures, byte for byte, in the layout that the other program reads."""

import json

import pytest

from lora_loom.pipelines.errors import BatchError, OutputError, RequestError
from lora_loom.studio.batch.export import export
from lora_loom.studio.batch.layouts import layout_of

METADATA = {"tag": "colors", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
GENEVAL = 'prompts = {preset = "geneval"}\nsamples = 2\nmethods = ["merge", "composite"]\n'
TWO = """
layout = "LAYOUT"
prompts = ["one", {prompt = "two", mood = "dark"}]
samples = 2
methods = ["merge", "composite"]
"""


@pytest.mark.parametrize("layout", ["folder", "webdataset"])
def test_a_flat_folder_holds_the_chosen_pictures_and_nothing_else(plan, work, tmp_path, layout):
    batch = work(plan(TWO.replace("LAYOUT", layout)))
    out = tmp_path / "flat"
    assert export(batch, "flat", out, ["method=merge"]) == 4
    chosen = {picture.uid for picture in batch.pictures if picture.request.method == "merge"}
    assert {path.name for path in out.iterdir()} == {f"{uid}.png" for uid in chosen}
    rows = [json.loads(line) for line in (tmp_path / "flat.jsonl").read_text().splitlines()]
    assert {row["uid"] for row in rows} == chosen
    for row in rows:
        name = f"{row['uid']}.png"
        assert (out / name).read_bytes() == layout_of(batch).read(
            {"uid": row["uid"], "file_name": layout_of(batch).file_name(batch.by_uid[row["uid"]])}
        )
    assert export(batch, "flat", tmp_path / "dark", ["mood=dark", "method=composite", "loras="]) == 2


def test_geneval_gets_a_folder_for_each_prompt(plan, work, tmp_path):
    second = METADATA | {"prompt": "a photo of a dog"}
    lines = [json.dumps(each) for each in (METADATA, second)]
    (tmp_path / "evaluation_metadata.jsonl").write_text("\n".join(lines))
    batch = work(plan(GENEVAL))
    with pytest.raises(BatchError, match=r"one way of drawing.*--where method=merge"):
        export(batch, "geneval", tmp_path / "mixed")
    assert export(batch, "geneval", tmp_path / "out", ["method=composite"]) == 4
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {
        f"0000{k}/{name}" for k in (0, 1) for name in ("metadata.jsonl", "samples/0000.png", "samples/0001.png")
    }
    assert json.loads((tmp_path / "out" / "00001" / "metadata.jsonl").read_text()) == second


def test_what_is_not_drawn_is_not_exported_silently(plan, work, tmp_path, flat_studio):
    batch = plan(TWO.replace("LAYOUT", "folder"))
    with pytest.raises(BatchError, match="8 of 8 pictures are not drawn"):
        export(batch, "flat", tmp_path / "out")

    def before(requests):
        if requests[0].prompt == "two":
            raise ValueError

    flat_studio.before = before
    work(batch)
    with pytest.raises(BatchError, match="4 of 8 pictures are not drawn"):
        export(batch, "flat", tmp_path / "out")
    assert export(batch, "flat", tmp_path / "out", partial=True) == 4


def test_what_cannot_be_chosen_is_said(plan, tmp_path):
    batch = plan(TWO.replace("LAYOUT", "folder"))
    with pytest.raises(RequestError, match=r"no export named 'zip'.*flat, geneval"):
        export(batch, "zip", tmp_path / "out")
    with pytest.raises(RequestError, match="have no 'methud'"):
        export(batch, "flat", tmp_path / "out", ["methud=merge"])
    with pytest.raises(RequestError, match="--where cannot be read"):
        export(batch, "flat", tmp_path / "out", ["merge"])
    with pytest.raises(BatchError, match=r"no picture of the batch is chosen.*method=switch"):
        export(batch, "flat", tmp_path / "out", ["method=switch"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(OutputError, match="not an empty folder"):
        export(batch, "flat", tmp_path / "full", partial=True)
