"""`loom methods` in words, as JSON and as the README's table."""

import json

import pytest
from typer.testing import CliRunner

from lora_loom.pipelines.registry import methods
from lora_loom.studio.cli.application import build


@pytest.fixture
def loom():
    return lambda *args: CliRunner().invoke(build(), ["methods", *args])


def test_every_method_is_explained(loom):
    text = loom().stdout
    for name, method in methods().items():
        assert name in text
        assert method.when_to_use in text
    assert "--switch-every" in text


def test_json_has_what_a_form_needs(loom):
    found = {method["name"]: method for method in json.loads(loom("--json").stdout)["methods"]}
    assert found.keys() == methods().keys()
    [setting] = found["switch"]["settings"]
    assert (setting["name"], setting["flag"], setting["kind"]) == ("switch_every", "--switch-every", "integer")


def test_the_table_has_a_row_per_method(loom):
    rows = loom("--markdown").stdout.strip().splitlines()
    assert len(rows) == len(methods()) + 2
    assert len({row.count("|") for row in rows}) == 1
