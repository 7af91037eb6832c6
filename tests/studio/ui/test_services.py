"""Services are made once for all tabs, and closed with the workspace."""

from lora_loom.studio.ui.services import Services


class Index:
    def __init__(self, closed):
        self.closed = closed

    def close(self):
        self.closed.append(self)


def test_the_first_who_asks_makes_it_for_all():
    services, closed = Services(), []
    first = services.get(Index, lambda: Index(closed))
    assert services.get(Index, lambda: Index(closed)) is first
    assert services.get(dict, dict) == {}


def test_all_that_can_be_closed_are():
    services, closed = Services(), []
    first = services.get(Index, lambda: Index(closed))
    services.get(dict, dict)
    services.close()
    assert closed == [first]
    assert services.get(Index, lambda: Index(closed)) is not first
