"""What happens in the Compose tab: every event of its components, and nothing about how they look.

The stack lives on the server while the page is open and is mirrored into the browser, as is the whole form, so that
a reload brings both back. Events run one after the other: two quick clicks would otherwise both start from the stack
as it was before either, and the later answer could be shown first. Each takes milliseconds.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import gradio as gr

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.records.extensions import not_understood
from lora_loom.studio.records.record import GenerationRecord, read_record
from lora_loom.studio.ui.banner import JOBS, error_banner, jobs_banner, notice_banner
from lora_loom.studio.ui.compose_jobs import JobEvents, Shown, Updates
from lora_loom.studio.ui.compose_layout import ComposeLayout
from lora_loom.studio.ui.compose_views import ComposeViews, Filters, Viewer
from lora_loom.studio.ui.controls import MAX_URL, proportions_of
from lora_loom.studio.ui.events import MAX_DATA, STORAGE_SECRET, as_object, pressed, value_of
from lora_loom.studio.ui.forecast_events import ForecastEvents
from lora_loom.studio.ui.form import lost_in_form, random_seed, read_draft, request_of_one, stack_of, write_form
from lora_loom.studio.ui.gallery import restored_notice
from lora_loom.studio.ui.recipes import RECIPES
from lora_loom.studio.ui.stack import StackRow, edited, forced, read_stack, toggled, with_word, write_stack
from lora_loom.studio.ui.undo import Past, differs, remembered
from lora_loom.studio.ui.words_view import replaced
from lora_loom.studio.ui.workspace import Workspace

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
IN_ORDER: dict[str, Any] = {**QUIET, "concurrency_id": "compose", "concurrency_limit": 1}
logger = logging.getLogger(__name__)


class ComposeEvents:
    """The handlers of the tab; `view` are its components, `workspace` what they act on."""

    def __init__(self, view: ComposeLayout, workspace: Workspace) -> None:
        self.view, self.workspace = view, workspace
        self.views = ComposeViews(workspace)
        self.stacked = gr.State([])
        self.filters = gr.State(Filters())
        self.viewer = gr.State(Viewer())
        self.past = gr.State(())
        self.kept_stack = gr.BrowserState([], storage_key="loom.stack", secret=STORAGE_SECRET)
        self.kept_form = gr.BrowserState({}, storage_key="loom.form", secret=STORAGE_SECRET)
        self.names = [*view.controls, "new_seed"]
        self.fields = [*view.controls.values(), view.new_seed]
        self.jobs = JobEvents(view, workspace, self.views, self.names)
        self.forecast = ForecastEvents(view.forecast, self.stacked, self.names, self.fields, workspace)

    def connect(self, page: gr.Blocks) -> None:
        """Attach every event; called once, while the page is being built."""
        view, prompt, method = self.view, self.view.controls["prompt"], self.view.method.picker
        stack_outputs = [self.stacked, self.kept_stack, view.stack, view.shelf]
        jobs, shown, job_outputs = self.jobs, self.jobs.shown, self.jobs.outputs
        form_outputs = [*self.fields, *stack_outputs, view.banner]
        width, height = view.controls["width"], view.controls["height"]
        context = [self.stacked, self.filters, prompt, method, width, height]
        undo_outputs, before = [self.past, view.undo], [self.past, self.stacked]
        whole_before = [*before, *self.fields]

        page.load(
            self._guarded(self.opened),
            [self.kept_form, self.kept_stack, jobs.kept],
            [*form_outputs, *job_outputs, view.recipes, view.words],
            **IN_ORDER,
        )
        view.search.change(
            self._guarded(self.searched),
            [view.search, self.filters, self.stacked],
            [view.shelf, self.filters, view.banner],
            trigger_mode="always_last",
            **IN_ORDER,
        )
        view.shelf.act(
            self._guarded(self._undoable(self.shelf_used)),
            [*context, *before],
            [*stack_outputs, self.filters, prompt, view.search, view.banner, *undo_outputs],
            trigger_mode="multiple",
            **IN_ORDER,
        )
        view.stack.act(
            self._guarded(self._undoable(self.stack_used)),
            [*context, *before],
            [*stack_outputs, prompt, view.banner, *undo_outputs],
            trigger_mode="multiple",
            **IN_ORDER,
        )
        gr.on(
            [prompt.change, method.change, width.change, height.change],
            self._guarded(self.text_changed),
            [prompt, self.stacked, method, width, height],
            [view.words, view.stack, view.banner],
            trigger_mode="always_last",
            **IN_ORDER,
        )
        self.forecast.connect()
        view.undo.click(
            self._guarded(self.undone),
            [self.past, *context[1:]],
            [*form_outputs, *undo_outputs],
            trigger_mode="multiple",
            **IN_ORDER,
        )
        remedy_used = self._guarded(self._undoable(self.remedy_used, form=True))
        view.forecast.act(remedy_used, [*context, *whole_before], [*form_outputs, *undo_outputs], **IN_ORDER)
        view.words.act(self._guarded(self.word_replaced), [prompt], [prompt, view.banner], **IN_ORDER)
        recipe_used = self._guarded(self._undoable(self.recipe_used, form=True))
        view.recipes.act(recipe_used, [self.filters, *whole_before], [*form_outputs, *undo_outputs], **IN_ORDER)
        view.dice.click(random_seed, None, view.controls["seed"], **IN_ORDER)
        gr.on(
            [view.generate.click, prompt.submit],
            self._guarded(jobs.generate),
            [self.stacked, self.viewer, shown, *self.fields],
            [*job_outputs, view.controls["seed"]],
            **IN_ORDER,
        )
        view.cancel.click(self._guarded(jobs.cancel), [self.viewer, shown], job_outputs, **IN_ORDER)
        view.stage.act(self._guarded(jobs.adopted), [self.viewer, shown], job_outputs, **IN_ORDER)
        view.timer.tick(self._guarded(jobs.ticked), [shown, self.viewer, *context], jobs.told, **IN_ORDER)
        for area in (view.gallery, view.stage):
            area.act(
                self._guarded(self._undoable(self.gallery_used, form=True)),
                [self.viewer, self.filters, *whole_before],
                [view.gallery, self.viewer, *form_outputs, *undo_outputs],
                **IN_ORDER,
            )
        view.picture.upload(
            self._guarded(self._undoable(self.picture_dropped, form=True)),
            [view.picture, self.filters, *whole_before],
            [view.picture, *form_outputs, *undo_outputs],
            **IN_ORDER,
        )
        view.banner.act(
            self._guarded(self.banner_used),
            [*context, self.viewer, shown, *self.fields],
            [*stack_outputs, *job_outputs, view.controls["seed"]],
            **IN_ORDER,
        )
        gr.on(
            [field.change for field in self.fields],
            None,
            self.fields,
            self.kept_form,
            js=as_object(self.names),
            queue=False,
            **QUIET,
        )

    def opened(self, asker: gr.Request, kept_form: object, kept_stack: object, kept_jobs: object) -> Updates:
        """The page was opened or reloaded: the form as it was left, and its running job if there is one."""
        self.workspace.studio.library.scan()
        values, stacked = read_draft(kept_form, self.workspace.start), read_stack(kept_stack)
        prompt, method = values["prompt"], values["method"]
        return {
            **self._form(values),
            **self._stack(stacked, Filters(), prompt, method, proportions_of(values["width"], values["height"])),
            **self.jobs.opened(asker, kept_jobs),
            self.view.gallery: self.views.gallery(Viewer()),
            self.view.recipes: self.views.recipes(),
            self.view.words: self.views.words(prompt),
            self.view.banner: jobs_banner(self.workspace.store.notice),
        }

    def banner_used(
        self,
        asker: gr.Request,
        event: gr.EventData,
        stacked: list[StackRow],
        filters: Filters,
        prompt: str,
        method: str,
        width: object,
        height: object,
        viewer: Viewer,
        shown: Shown,
        *fields: Any,
    ) -> Updates:
        """The banner was closed, or what fits of the LoRA that it is about is to be loaded although it is refused."""
        if pressed(event, "action") != "force":
            if pressed(event, "name") == JOBS:  # closing another message leaves this one for the next look
                self.workspace.store.notice = ""
            return {self.view.banner: ""}
        name = pressed(event, "name")
        if name not in {one.name for one in stacked}:
            said = "Take it from the shelf, then load by force what fits of it."
            return {self.view.banner: notice_banner("That LoRA is not in the stack", [said])}
        stacked = forced(stacked, name)
        return {
            **self._stack(stacked, filters, prompt, method, proportions_of(width, height)),
            **self.jobs.generate(asker, stacked, viewer, shown, *fields),
        }

    def searched(self, query: str, filters: Filters, stacked: list[StackRow]) -> Updates:
        new = Filters(query, filters.category)
        return {self.view.shelf: self.views.shelf(stacked, new), self.filters: new}

    def shelf_used(
        self,
        stacked: list[StackRow],
        filters: Filters,
        prompt: str,
        method: str,
        width: object,
        height: object,
        event: gr.EventData,
    ) -> Updates:
        """A card, a trigger word or a category was pressed."""
        action, value = pressed(event, "action"), pressed(event, "value")
        if action == "toggle":
            stacked = toggled(stacked, self.workspace.studio.library.by_id(pressed(event, "id")))
            return self._stack(stacked, filters, prompt, method, proportions_of(width, height))
        if action == "trigger":
            return self._trigger(pressed(event, "id"), value, prompt)
        if action == "category":
            filters = replace(filters, category=value, limit=Filters().limit)
        elif action == "more":
            filters = replace(filters, limit=2 * filters.limit)
        elif action == "clear":
            filters = Filters()
        updates: Updates = {self.view.shelf: self.views.shelf(stacked, filters), self.filters: filters}
        return updates | ({self.view.search: ""} if action == "clear" else {})

    def stack_used(
        self,
        stacked: list[StackRow],
        filters: Filters,
        prompt: str,
        method: str,
        width: object,
        height: object,
        event: gr.EventData,
    ) -> Updates:
        """A row of the stack was edited, or one of its trigger words pressed."""
        action = pressed(event, "action")
        if action == "trigger":
            return self._trigger(pressed(event, "id"), pressed(event, "value"), prompt)
        value = pressed(event, "value", MAX_URL if action == "paint" else MAX_DATA)
        proportions = proportions_of(width, height)
        stacked = edited(stacked, action, pressed(event, "row"), value, pressed(event, "name"), proportions)
        return self._stack(stacked, filters, prompt, method, proportions)

    def remedy_used(
        self,
        stacked: list[StackRow],
        filters: Filters,
        prompt: str,
        method: str,
        width: object,
        height: object,
        event: gr.EventData,
    ) -> Updates:
        """A remedy of the forecast was pressed: it changes the stack, or the method with its settings."""
        if pressed(event, "action") != "remedy":
            return {}
        found = self.forecast.remedied(stacked, pressed(event, "key"), pressed(event, "value"))
        if found is None:
            return {}
        stacked, values = found
        shown = self._stack(stacked, filters, prompt, values.get("method", method), proportions_of(width, height))
        return {**self._form(values), **shown}

    def undone(self, past: Past, filters: Filters, prompt: str, method: str, width: object, height: object) -> Updates:
        """The stack, and the form where that was replaced, as they were before the last change to the stack."""
        if not past:
            return {}
        *earlier, last = past
        values = {"prompt": prompt, "method": method, "width": width, "height": height, **(last.form or {})}
        proportions = proportions_of(values["width"], values["height"])
        return {
            **self._form(dict(last.form or {})),
            **self._stack(last.stacked, filters, values["prompt"], values["method"], proportions),
            **self._undo(tuple(earlier)),
        }

    def text_changed(self, prompt: str, stacked: list[StackRow], method: str, width: object, height: object) -> Updates:
        stack = self.views.stack(stacked, prompt, method, proportions_of(width, height))
        return {self.view.words: self.views.words(prompt), self.view.stack: stack}

    def word_replaced(self, prompt: str, event: gr.EventData) -> Updates:
        return {self.view.controls["prompt"]: replaced(prompt, pressed(event, "word"), pressed(event, "value"))}

    def recipe_used(self, filters: Filters, event: gr.EventData) -> Updates:
        number = pressed(event, "value")
        if not number.isdigit() or int(number) >= len(RECIPES):
            return {}
        request = RECIPES[int(number)].request
        stacked = [StackRow.of(choice) for choice in request.adapters]
        return {
            **self._form(write_form(request)),
            **self._stack(
                stacked, filters, request.prompt, request.method, proportions_of(request.width, request.height)
            ),
            self.view.banner: "",
        }

    def gallery_used(self, viewer: Viewer, filters: Filters, event: gr.EventData) -> Updates:
        """A picture was opened, closed, or its settings are to be used."""
        action, name = pressed(event, "action"), pressed(event, "name")
        if action == "use":
            return self._restored(self.workspace.gallery.find(name).record, filters)
        if action == "open":
            viewer = replace(viewer, opened="" if viewer.opened == name else self.workspace.gallery.find(name).name)
        elif action == "close":
            viewer = replace(viewer, opened="")
        elif action == "more":
            viewer = replace(viewer, limit=2 * viewer.limit)
        return {self.view.gallery: self.views.gallery(viewer), self.viewer: viewer}

    def picture_dropped(self, path: str | None, filters: Filters) -> Updates:
        """A picture was dropped: its record fills the form. The path is that of Gradio's own copy of the upload."""
        if not path:
            return {}
        try:
            return {**self._restored(read_record(path), filters), self.view.picture: None}
        except LoomError as error:
            return {self.view.banner: error_banner(error), self.view.picture: None}

    def _restored(self, record: GenerationRecord, filters: Filters) -> Updates:
        request, stacked = request_of_one(record), stack_of(record)
        differences = self.workspace.studio.differences(record)
        lost = lost_in_form(request)
        title, lines = restored_notice(record, differences, lost)
        doubtful = bool(differences or lost or not_understood(record.extensions))
        return {
            **self._form(write_form(request) | {"new_seed": False}),
            **self._stack(
                stacked, filters, request.prompt, request.method, proportions_of(request.width, request.height)
            ),
            self.view.banner: notice_banner(title, lines, warning=doubtful),
        }

    def _trigger(self, card_id: str, word: str, prompt: str) -> Updates:
        """Put a trigger word into the prompt, if it really is one of that LoRA's."""
        card = self.workspace.studio.library.by_id(card_id)
        return {self.view.controls["prompt"]: with_word(prompt, word)} if word in card.triggers else {}

    def _stack(
        self, stacked: Sequence[StackRow], filters: Filters, prompt: str, method: str, proportions: float
    ) -> Updates:
        return {
            self.stacked: list(stacked),
            self.kept_stack: write_stack(stacked),
            self.view.stack: self.views.stack(stacked, prompt, method, proportions),
            self.view.shelf: self.views.shelf(stacked, filters),
        }

    def _undo(self, past: Past) -> Updates:
        return {self.past: past, self.view.undo: gr.Button(interactive=bool(past))}

    def _undoable(self, handler: Callable[..., Updates], *, form: bool = False) -> Callable[..., Updates]:
        """The handler, whose change to the stack can be taken back, and to the form as well with `form`.

        Its inputs are followed by the past, the stack, and with `form` the form's fields.
        """
        more = 2 + len(self.fields) * form

        @functools.wraps(handler)
        def undoable(*arguments: Any) -> Updates:
            (past, stacked, *fields), own = arguments[-more:], arguments[:-more]
            updates = handler(*own)
            if self.stacked not in updates or not (form or differs(stacked, updates[self.stacked])):
                return updates
            values = dict(zip(self.names, fields, strict=True)) if form else None
            return {**updates, **self._undo(remembered(past, stacked, values))}

        shown = inspect.signature(handler)
        extra = [inspect.Parameter(f"before_{i}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for i in range(more)]
        cast("Any", undoable).__signature__ = shown.replace(parameters=[*shown.parameters.values(), *extra])
        return undoable  # Gradio counts the parameters, and finds the place of the event among them

    def _form(self, values: dict[str, Any]) -> Updates:
        controls = {**self.view.controls, "new_seed": self.view.new_seed}
        return {controls[name]: value_of(controls[name], value) for name, value in values.items() if name in controls}

    def _guarded(self, handler: Callable[..., Updates]) -> Callable[..., Updates]:
        """The handler with every error shown in the banner: a LoomError in its parts, anything else as a fault."""

        @functools.wraps(handler)
        def guarded(*arguments: Any) -> Updates:
            try:
                return handler(*arguments) or {self.view.banner: gr.skip()}
            except LoomError as error:
                return {self.view.banner: error_banner(error)}
            except Exception as error:
                logger.exception("the studio's page failed in %s", handler.__name__)
                fault = LoomError("something went wrong inside Loom", found=f"{type(error).__name__}: {error}"[:300])
                return {self.view.banner: error_banner(fault)}

        return guarded
