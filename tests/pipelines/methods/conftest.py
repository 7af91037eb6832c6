"""Families that differ in kind, for what single methods do; the contract of methods runs each on all families."""

import pytest

from tests.pipelines.conftest import UNLIKE


@pytest.fixture(params=UNLIKE)
def family(request):
    return request.param
