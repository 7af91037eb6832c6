"""The Label tab: a person says what pictures show, without knowing which method drew them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from lora_loom.pipelines.errors import EvaluationError, LoomError
from lora_loom.studio.evaluation.feature_cache import pixel_hash
from lora_loom.studio.evaluation.labels.book import LabelBook
from lora_loom.studio.evaluation.labels.questions import Question, questions
from lora_loom.studio.evaluation.pictures import read_pictures
from lora_loom.studio.ui.banner import error_banner
from lora_loom.studio.ui.label_view import finished_view, label_view, opening_view, welcome_view
from lora_loom.studio.ui.markup import ON_ACTION
from lora_loom.studio.ui.page import Tab
from lora_loom.studio.ui.workspace import Workspace

LABELS, SETS = "LOOM_LABELS", "LOOM_LABEL_SETS"  # folder of the answers; further folders of pictures, as in PATH
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
IN_ORDER: dict[str, Any] = {**QUIET, "concurrency_id": "label", "concurrency_limit": 1}
MARK = "metadata.jsonl"  # what makes a folder a set


@dataclass(frozen=True)
class Round:
    """Where one person is in one set: the questions left, the first of them shown, and its answers so far."""

    labeller: str = ""
    left: tuple[Question, ...] = ()
    total: int = 0
    answers: dict[str, bool] = field(default_factory=dict)


class LabelTab:
    """The tab's components and events. Pictures come from the set folders alone, never by a path from the page."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.book = LabelBook(Path(os.environ.get(LABELS) or workspace.studio.output_dir / "labels"))
        with gr.Column(elem_id="loom-labelling"):
            self.banner = gr.HTML("", js_on_load=ON_ACTION, apply_default_css=False, elem_classes="loom-area")
            with gr.Row(elem_classes="loom-tight"):
                self.labeller = gr.Textbox(
                    label="Your name", placeholder="kept with each answer", elem_id="loom-labeller"
                )
                self.sets = gr.Dropdown([], label="Set of pictures", elem_id="loom-label-set")
                self.look = gr.Button("Look again", elem_id="loom-label-look", scale=0)
                self.start = gr.Button("Start", variant="primary", elem_id="loom-label-start", scale=0)
            self.area = gr.HTML(
                "", js_on_load=ON_ACTION, apply_default_css=False, elem_id="loom-label-area", elem_classes="loom-area"
            )
        self.round = gr.State(Round())

    def connect(self, page: gr.Blocks) -> None:
        shown = [self.area, self.round, self.banner]
        page.load(self._guarded(self.looked), None, [self.sets, self.area, self.banner], **IN_ORDER)
        self.look.click(self._guarded(self.looked), None, [self.sets, self.area, self.banner], **IN_ORDER)
        self.start.click(self._guarded(self.started), [self.labeller, self.sets], shown, **IN_ORDER)
        self.area.act(self._guarded(self.used), [self.round], shown, trigger_mode="multiple", **IN_ORDER)
        self.banner.act(lambda: "", None, self.banner, **QUIET)

    def folders(self) -> dict[str, Path]:
        """The sets by name: folders with metadata.jsonl in the output folder and in those of LOOM_LABEL_SETS."""
        roots = [self.workspace.studio.output_dir, *map(Path, filter(None, os.environ.get(SETS, "").split(os.pathsep)))]
        found: dict[str, Path] = {}
        for root in roots:
            for mark in sorted([*root.glob(MARK), *root.glob(f"*/{MARK}")]):
                found[mark.parent.name if mark.parent.name not in found else str(mark.parent)] = mark.parent
        return found

    def looked(self) -> dict[Any, Any]:
        """The page was opened, or new sets may be there."""
        names = list(self.folders())
        sets = gr.Dropdown(choices=names, value=names[0] if names else None)
        return {
            self.sets: sets,
            self.area: welcome_view() if names else opening_view(str(self.workspace.studio.output_dir)),
        }

    def started(self, labeller: str, name: str | None) -> dict[Any, Any]:
        """A person starts on a set, or goes on where they stopped."""
        labeller = " ".join((labeller or "").split())[:60]
        if not labeller:
            raise EvaluationError("the answers need a name", expected="your name, or any other that stays the same")
        folder = self.folders().get(name or "")
        if folder is None:
            raise EvaluationError("this set is not there any more", remedy="Press Look again and choose another")
        every = questions(read_pictures(folder), labeller)
        answered = self.book.answered_by(labeller)
        left = tuple(each for each in every if pixel_hash(each.picture.pixels()) not in answered)
        return self._shown(Round(labeller, left, len(every)))

    def used(self, current: Round, event: gr.EventData) -> dict[Any, Any]:
        """A button of the picture's page was pressed."""
        data = event._data if isinstance(event._data, dict) else {}
        action, name, value = (str(data.get(key, ""))[:200] for key in ("action", "name", "value"))
        if not current.left:
            return {}
        question = current.left[0]
        if action == "answer" and name in question.concepts:
            current = replace(current, answers={**current.answers, name: value == "yes"})
        elif action == "skip":
            current = replace(current, left=(*current.left[1:], question), answers={})
        elif action == "save" and current.answers.keys() == set(question.concepts):
            self.book.add(pixel_hash(question.picture.pixels()), current.labeller, current.answers)
            current = replace(current, left=current.left[1:], answers={})
        return self._shown(current)

    def _shown(self, current: Round) -> dict[Any, Any]:
        done = current.total - len(current.left)
        if not current.left:
            return {self.area: finished_view(current.total, self.book.path), self.round: current, self.banner: ""}
        cards = {card.name: card for card in self.workspace.studio.library.cards()}
        view = label_view(
            current.left[0], current.answers, cards, self.workspace.thumbnails, done=done, total=current.total
        )
        return {self.area: view, self.round: current, self.banner: ""}

    def _guarded(self, handler: Callable[..., dict[Any, Any]]) -> Callable[..., dict[Any, Any]]:
        """The handler with a LoomError shown in the banner."""

        @wraps(handler)
        def guarded(*arguments: Any) -> dict[Any, Any]:
            try:
                return handler(*arguments) or {self.banner: gr.skip()}
            except LoomError as error:
                return {self.banner: error_banner(error)}

        return guarded


def build(workspace: Workspace, page: gr.Blocks) -> None:
    """Make the tab's components and connect them to the workspace."""
    LabelTab(workspace).connect(page)


TAB = Tab(title="Label", order=80, build=build)
