"""Some thousand inputs of every parser, led by coverage from a fixed seed: each is read or refused, none is slow."""

import json

import pytest

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.bench.fuzz import campaign
from lora_loom.studio.bench.fuzz.campaign import Leg, legs_of, rows_of, run
from lora_loom.studio.bench.fuzz.leg import loaded_code
from lora_loom.studio.bench.fuzz.parsers import PARSERS

pytest.importorskip("atheris", reason="atheris has wheels for Linux only")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_parser_lets_another_error_through_or_takes_long(tmp_path):
    legs = legs_of(PARSERS, {"reader": 1500, "metadata": 6_400}, 0, 1500)
    rows = run(legs, tmp_path, 1)
    faults = [path.read_text() for path in tmp_path.glob("*.txt")]
    assert not faults
    assert {row["parser"] for row in rows} == {*(parser.name for parser in PARSERS), "all"}
    assert all(row["holds"] for row in rows)
    assert [row["inputs"] for row in rows if row["parser"] == "all"] == [1500, 6_400]
    assert all(row["accepted"] for row in rows)  # otherwise no input came behind the first check


def test_groups_are_shared_evenly_and_cut_into_legs():
    legs = legs_of(PARSERS, {"reader": 25, "metadata": 17}, 5, 10)
    assert [leg for leg in legs if leg.parser == "reader"] == [
        Leg("reader", 10, 5),
        Leg("reader", 10, 6),
        Leg("reader", 5, 7),
    ]
    others = [leg.inputs for leg in legs if leg.parser != "reader"]
    assert sum(others) == 17
    assert set(others) == {2, 3}


def test_what_was_done_is_not_done_again_and_faults_show(tmp_path, monkeypatch):
    ran = []

    def leave(leg, folder):
        ran.append(leg)
        slow = int(leg.seed == 1)
        tally = {"code": loaded_code(["lora_loom.studio.words"])}
        tally |= {
            "parser": leg.parser,
            "seed": leg.seed,
            "inputs": leg.inputs,
            "accepted": 1,
            "refused": leg.inputs - 1,
        }
        memory = {"memory_settled": 1 << 20, "memory_end": 3 << 20}
        (folder / leg.file_name).write_text(json.dumps({**tally, "uncaught": 0, "slow": slow, **memory}))

    monkeypatch.setattr(campaign, "_run_leg", leave)
    legs = [Leg("png", 10, 0), Leg("png", 10, 1)]
    assert [row["holds"] for row in run(legs[:1], tmp_path, 1)] == [True, True]
    rows = run(legs, tmp_path, 1)
    assert ran == legs
    assert rows == rows_of(legs, tmp_path)
    assert [(row["parser"], row["inputs"], row["slow"], row["holds"]) for row in rows] == [
        ("png", 20, 1, False),
        ("all", 20, 1, False),
    ]
    assert (rows[0]["memory_settled_mib"], rows[0]["memory_end_mib"]) == (1.0, 3.0)
    path = tmp_path / legs[0].file_name
    path.write_text(json.dumps({**json.loads(path.read_text()), "code": {"lora_loom.studio.words": "0" * 16}}))
    for report in (lambda: run(legs, tmp_path, 1), lambda: rows_of(legs, tmp_path)):
        with pytest.raises(LoomError, match=r"other code.*lora_loom\.studio\.words.*new --work"):
            report()


def test_a_process_that_ends_by_itself_is_a_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign.sys, "executable", "false")
    with pytest.raises(LoomError, match=r"ended by itself.*exit code 1"):
        run([Leg("png", 10, 0)], tmp_path, 1)
