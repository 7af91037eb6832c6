"""Every prompt format gives its rows with their line numbers; the public lists are read as their authors wrote them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lora_loom.pipelines.errors import SuiteError
from lora_loom.studio.batch.prompts.prompt_format import prompt_formats
from lora_loom.studio.batch.prompts.reading import PromptSource, read_prompts

FULL = {"prompt": "a fox", "id": "one", "seeds": [1, 2], "steps": 5, "loras": [{"name": "fox", "weight": 0.5}]}
CSV = 'prompt,id,seeds,steps,loras,mood\n\n"a fox, red",one,"[1, 2]",5,fox:0.5,\na hen,two,7,,"fox:1, ink",dark\n'


def read(path, **how):
    return read_prompts(PromptSource(file=path, **how))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_json_lines_keep_line_numbers_and_free_metadata(tmp_path):
    lines = [json.dumps({**FULL, "expected": {"n": 1}, "mood": "dark"}), "", json.dumps({"prompt": "a hen"})]
    one, two = read(write(tmp_path / "p.jsonl", "\n".join(lines)))
    assert (one.id, one.prompt, one.line, one.seeds) == ("one", "a fox", 1, (1, 2))
    assert one.asked["num_inference_steps"] == 5
    assert [(each.name, each.strength) for each in one.asked["adapters"]] == [("fox", 0.5)]
    assert (one.expected, one.metadata) == ({"n": 1}, {"mood": "dark"})
    assert (two.line, two.seeds, two.asked, two.metadata) == (3, None, {}, {})


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables_read_cells_as_what_their_column_holds(tmp_path, ending):
    text = CSV if ending == "csv" else CSV.replace('"a fox, red"', "a fox; red").replace('"[1, 2]"', "1;2")
    if ending == "tsv":
        text = text.replace('"fox:1, ink"', "fox:1;ink").replace(",", "\t")
    one, two = read(write(tmp_path / f"p.{ending}", "﻿" + text))
    assert (one.line, one.seeds, two.line, two.seeds) == (3, (1, 2), 4, (7,))
    assert one.asked["num_inference_steps"] == 5
    assert "num_inference_steps" not in two.asked
    assert [(each.name, each.strength) for each in two.asked["adapters"]] == [("fox", 1.0), ("ink", 1.0)]
    assert (one.metadata, two.metadata) == ({}, {"mood": "dark"})


def test_parquet_leaves_out_what_is_missing(tmp_path):
    table = pa.Table.from_pylist([{**FULL, "expected": {"n": 1, "m": None}}, {"prompt": "a hen"}])
    pq.write_table(table, tmp_path / "p.parquet")
    one, two = read(tmp_path / "p.parquet")
    assert (one.line, one.seeds, one.expected) == (1, (1, 2), {"n": 1})
    assert (two.line, two.seeds, two.asked) == (2, None, {})


def test_text_reads_the_inline_options_of_kohya(tmp_path):
    text = "# two\n\na fox --n dull, grey --w 640 --h 448 --d 7 --l 7.5 --s 28\na well-lit hen <lora:ink:0.5>\n"
    one, two = read(write(tmp_path / "p.txt", text))
    assert (one.prompt, one.line, one.seeds) == ("a fox", 3, (7,))
    assert one.asked == {
        "negative_prompt": "dull, grey",
        "width": 640,
        "height": 448,
        "guidance_scale": 7.5,
        "num_inference_steps": 28,
    }
    assert (two.prompt, two.asked["adapters"][0].strength) == ("a well-lit hen", 0.5)


def test_the_public_lists_keep_what_is_to_be_scored(tmp_path):
    write(tmp_path / "PartiPrompts.tsv", "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology\n")
    write(tmp_path / "drawbench.csv", "Prompts,Category\nA red car.,Colors\n")
    geneval = {"tag": "colors", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
    write(tmp_path / "evaluation_metadata.jsonl", json.dumps(geneval) + "\n")
    coco = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 7, "id": 70 + k, "caption": f" Cat {k}\n"} for k in range(20)],
    }
    write(tmp_path / "captions_val2014.json", json.dumps(coco))
    found = {
        name: read(tmp_path / kind.file_name, format=name) for name, kind in prompt_formats().items() if kind.is_preset
    }
    assert set(found) == {"partiprompts", "drawbench", "geneval", "coco"}
    parti, drawbench, evaluated = (found[name][0] for name in ("partiprompts", "drawbench", "geneval"))
    assert (parti.id, parti.prompt) == ("parti-0000", "bond")
    assert parti.metadata == {"category": "Abstract", "challenge": "Basic", "note": "Biology"}
    assert (drawbench.prompt, drawbench.metadata) == ("A red car.", {"category": "Colors"})
    assert (evaluated.id, evaluated.prompt, evaluated.expected) == ("geneval-00000", geneval["prompt"], geneval)
    assert (found["coco"][3].id, found["coco"][3].prompt) == ("coco-73", "Cat 3")
    assert found["coco"][3].metadata == {"image_id": 7, "image_file_name": "a.jpg"}


def test_a_sample_is_the_same_for_a_run_seed_whatever_the_order(tmp_path):
    lines = [json.dumps({"prompt": f"p{k}", "id": f"p{k}"}) for k in range(50)]
    path = write(tmp_path / "p.jsonl", "\n".join(lines))
    turned = write(tmp_path / "q.jsonl", "\n".join(reversed(lines)))

    def ids(file, seed):
        return {row.id for row in read_prompts(PromptSource(file=file, sample=10), seed)}

    assert len(ids(path, 0)) == 10
    assert ids(path, 0) == ids(turned, 0) != ids(path, 1)
    assert [row.id for row in read(path, limit=2)] == ["p0", "p1"]


def test_prompts_without_an_id_are_called_by_their_text(tmp_path):
    one, two, three = read(write(tmp_path / "p.txt", "a fox\na hen\na fox\n"))
    again = read(write(tmp_path / "q.txt", "a hen\na fox\n"))
    assert [row.id for row in again] == [two.id, one.id]
    assert three.id == f"{one.id}-2"


def test_columns_can_be_renamed_and_passed_through(tmp_path):
    path = write(tmp_path / "p.csv", "caption,prompts\na fox,x\n")
    (row,) = read(path, columns={"prompt": "caption"}, metadata=("prompts",))
    assert (row.prompt, row.metadata) == ("a fox", {"prompts": "x"})
    with pytest.raises(SuiteError, match="no row has a column 'text'"):
        read(path, columns={"prompt": "text"}, metadata=("prompts",))


def test_all_bad_rows_are_told_by_their_lines(tmp_path):
    rows = [{"prompt": "fine"}, {"prompt": " "}, {"promt": "x"}, {"prompt": "x", "seed": -1}, {"prompt": "x", "n": "3"}]
    rows += [{"prompt": "x", "loras": 5}, {"prompt": "x", "settings": {}}, {"prompt": "x", "seed": 1, "seeds": [2]}]
    text = "\n".join([*map(json.dumps, rows), "{", "[]", '{"prompt": NaN}'])
    with pytest.raises(SuiteError) as caught:
        read(write(tmp_path / "p.jsonl", text))
    message = str(caught.value)
    assert "10 bad rows" in message
    assert "line 1:" not in message
    for line, part in ((2, "empty"), (3, "Did you mean 'prompt'"), (4, "seed"), (9, "not JSON"), (10, "not an object")):
        assert f"line {line}: " in message
        assert part in message.partition(f"line {line}: ")[2].splitlines()[0]


def test_what_is_wrong_with_a_file_is_said(tmp_path, subtests):
    cases = [
        ("p.txt", "a fox --q 3\n", "line 1: unknown option --q"),
        ("p.txt", "\na fox --s many\n", "line 2: --s needs a number"),
        ("p.csv", "prompt,prompt\na,b\n", "does not name its columns"),
        ("p.csv", "prompt\na fox,1\n", "line 2: 2 cells"),
        ("p.csv", "text\na fox\n", "line 2: there is no prompt"),
        ("p.parquet", "no table", "not a parquet table"),
        ("p.jsonl", "", "holds no prompt"),
        ("p.jsonl", '{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}', "id 'x' twice: found lines 1 and 2"),
        ("p.docx", "a fox", "no known format"),
    ]
    for name, content, part in cases:
        with subtests.test(name=name, content=content, part=part):
            with pytest.raises(SuiteError) as caught:
                read(write(tmp_path / name, content))
            assert part in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"a f\xf6x\n")
    with pytest.raises(SuiteError, match=r"not text in UTF-8.*byte 3"):
        read(tmp_path / "p.txt")


def test_a_missing_preset_says_which_file_and_where_it_is_published(tmp_path, monkeypatch):
    with pytest.raises(SuiteError, match=r"captions_val2014\.json.*cocodataset\.org"):
        read(tmp_path / "captions_val2014.json", format="coco")
    with pytest.raises(SuiteError, match=r"no prompt format 'cocoa'.*Did you mean 'coco'"):
        read(tmp_path / "x.json", format="cocoa")
    write(tmp_path / "drawbench.csv", "Prompts,Category\nA red car.,Colors\n")
    monkeypatch.setenv("LOOM_PROMPTS", str(tmp_path))
    assert read(tmp_path / "elsewhere" / "drawbench.csv", format="drawbench")[0].prompt == "A red car."
