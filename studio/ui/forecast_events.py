"""The forecast of the Compose tab: made beside the page's other events, when the stack has changed or a person asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.forecast.forecasts import Forecasts, StackForecast
from lora_loom.studio.ui.forecast_view import asking_view, failed_view, forecast_view, waiting_view
from lora_loom.studio.ui.remedy import in_use, method_values, offered, remedied
from lora_loom.studio.ui.stack import StackRow, choices
from lora_loom.studio.ui.workspace import Workspace

BESIDE: dict[str, Any] = {  # a queue of its own: no click waits for an examination
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_id": "forecast",
    "concurrency_limit": 1,
}
SLOW = "These LoRAs are large, or the base model is not loaded yet, so this can take a minute."
logger = logging.getLogger(__name__)


class ForecastEvents:
    """Shows the forecast in `area`; `names` and `fields` are the form's, whose method and settings it looks at."""

    def __init__(
        self, area: gr.HTML, stacked: gr.State, names: Sequence[str], fields: Sequence[Any], workspace: Workspace
    ) -> None:
        self.area, self.stacked = area, stacked
        self.names, self.fields = names, fields
        self.workspace = workspace
        self.forecasts = Forecasts(workspace.studio)
        self.before = gr.State("")  # what was shown last

    def connect(self) -> None:
        """Attach the events; called once, while the page is being built."""
        of_method = [
            field for name, field in zip(self.names, self.fields, strict=True) if name == "method" or "." in name
        ]
        outputs = [self.area, self.before]
        inputs = [self.stacked, self.before, *self.fields]
        gr.on(
            [self.stacked.change, *(field.change for field in of_method)],
            self.changed,
            inputs,
            outputs,
            trigger_mode="always_last",
            **BESIDE,
        )
        self.area.act(self.asked, inputs, outputs, **BESIDE)

    def changed(self, stacked: list[StackRow], before: str, *fields: Any) -> Iterator[dict[Any, Any]]:
        """The stack, the method or a setting is another one."""
        yield from self._shown(stacked, before, self._values(fields), asked=False)

    def asked(
        self, stacked: list[StackRow], before: str, event: gr.EventData, *fields: Any
    ) -> Iterator[dict[Any, Any]]:
        """A person wants a forecast that is not made unasked."""
        if isinstance(event._data, dict) and event._data.get("action") == "foresee":
            yield from self._shown(stacked, before, self._values(fields), asked=True)
        else:
            yield {self.area: gr.skip()}

    def remedied(self, stacked: list[StackRow], key: str, index: str) -> tuple[list[StackRow], dict[str, Any]] | None:
        """The stack and form after a click on a remedy; None for one that the page showed of another stack."""
        forecast = self.forecasts.known(choices(stacked))
        if forecast is None or forecast.report is None or forecast.key != key:
            return None
        remedy = dict(enumerate(forecast.report.remedies)).get(int(index) if index.isdecimal() else -1)
        return None if remedy is None else (remedied(stacked, remedy, forecast), method_values(remedy))

    def view(self, forecast: StackForecast, stacked: Sequence[StackRow], values: Mapping[str, Any]) -> str:
        """A forecast as HTML, for the stack it is of and the form as it stands."""
        on_offer = offered(forecast, stacked) if forecast.report else []
        used = {index for index, remedy in on_offer if in_use(remedy, forecast, stacked, values)}
        cards = {card.name: card for card in self.workspace.studio.library.cards()}
        return forecast_view(forecast, cards, on_offer, used, values["method"])

    def _values(self, fields: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self.names, fields, strict=True))

    def _shown(
        self, stacked: Sequence[StackRow], before: str, values: Mapping[str, Any], *, asked: bool
    ) -> Iterator[dict[Any, Any]]:
        chosen = choices(stacked)
        shown = ""
        try:
            if len(chosen) >= 2:
                forecast = self.forecasts.known(chosen)
                if forecast is None and not (asked or self.forecasts.quick(chosen)):
                    shown = asking_view(SLOW)
                else:
                    if forecast is None:
                        yield {self.area: waiting_view(before)}
                        forecast = self.forecasts.of(chosen)
                    shown = self.view(forecast, stacked, values)
        except LoomError as error:
            shown = failed_view(f"There is no forecast: {error}")
        except Exception:
            logger.exception("the forecast failed")
            shown = failed_view("There is no forecast: something went wrong inside Loom, and the log has the details.")
        yield {self.area: shown, self.before: shown}
