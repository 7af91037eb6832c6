"""Groups of pictures by their metadata."""

import pytest

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.cells import cells_of
from lora_loom.studio.evaluation.pictures import read_pictures


@pytest.fixture
def found(write_folder):
    def found(*rows, by=None):
        return {
            cell.label: len(held)
            for cell, held in cells_of(read_pictures(write_folder("x", len(rows), rows=rows)), by).items()
        }

    return found


def test_what_differs_makes_groups_in_order(found):
    rows = [
        {"method": "switch", "loras": ["a"] * 10},
        {"method": "merge", "loras": ["a", "b"]},
        {"method": "switch", "loras": ["a"] * 2},
    ]
    assert found(*rows) == {"method merge, k 2": 1, "method switch, k 2": 1, "method switch, k 10": 1}


def test_settings_count_only_where_a_method_has_several(found):
    one = {"method": "merge", "settings": {}}
    two = {"method": "switch", "settings": {"switch_every": 2}}
    three = {"method": "switch", "settings": {"switch_every": 5}}
    assert list(found(one, two)) == ["method merge", "method switch"]
    assert "method switch, settings switch_every=5" in found(one, two, three)


def test_alike_pictures_are_one_group(found):
    assert found({"method": "merge"}, {"method": "merge"}) == {"all pictures": 2}
    assert found({"method": "merge"}, {"method": "switch"}, by=[]) == {"all pictures": 2}


def test_an_unknown_name_is_refused(found):
    with pytest.raises(
        EvaluationError, match="no picture has 'methd' in its metadata: expected some of file_name, method"
    ):
        found({"method": "merge"}, by=["methd"])
