"""The areas of the Compose tab as HTML, each from what the workspace knows now."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lora_loom.pipelines.registry import methods
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.ui import gallery, shelf, stack, stage
from lora_loom.studio.ui.recipes import recipes_view
from lora_loom.studio.ui.stack import StackRow
from lora_loom.studio.ui.words_view import words_view
from lora_loom.studio.ui.workspace import Workspace


@dataclass(frozen=True)
class Filters:
    """What the shelf shows: cards of `category` (all if empty) that fit `query`, at most `limit`."""

    query: str = ""
    category: str = ""
    limit: int = shelf.PAGE


@dataclass(frozen=True)
class Viewer:
    """What the gallery shows: at most `limit` pictures, with the settings of the one called `opened`."""

    opened: str = ""
    limit: int = gallery.PAGE


@dataclass(frozen=True)
class ComposeViews:
    workspace: Workspace

    def cards(self) -> dict[str, AdapterCard]:
        return {card.name: card for card in self.workspace.studio.library.cards()}

    def shelf(self, chosen: Collection[StackRow], filters: Filters) -> str:
        return shelf.shelf(
            self.workspace.studio.library.cards(),
            self.workspace.thumbnails,
            chosen={one.name for one in chosen},
            query=filters.query,
            category=filters.category,
            limit=filters.limit,
            in_part=self.workspace.studio.in_part(),
        )

    def stack(self, chosen: Sequence[StackRow], prompt: str, method: str, proportions: float = 1.0) -> str:
        known = methods().get(method)
        return stack.stack_view(
            chosen,
            self.cards(),
            self.workspace.thumbnails,
            prompt,
            order_matters=known is not None and known.order_matters,
            proportions=proportions,
            in_part=self.workspace.studio.in_part(),
        )

    def recipes(self) -> str:
        return recipes_view(self.cards())

    def words(self, prompt: str) -> str:
        vocabulary = self.workspace.studio.vocabulary
        return words_view(vocabulary.unknown(prompt), vocabulary.words)

    def stage(self, job: Job | None, elsewhere: Job | None = None) -> str:
        """The stage of a page for its job; `elsewhere` is one that another page began and that has not ended."""
        store = self.workspace.store
        return stage.stage(
            job,
            elsewhere,
            preview=store.preview(job.id) if job and job.state == "running" else None,
            waiting=store.waiting(),
            ahead=store.ahead(job.id) if job else 0,
            picture_path=self.workspace.gallery.path_of,
        )

    def gallery(self, viewer: Viewer) -> str:
        return gallery.gallery_view(
            self.workspace.gallery,
            self.cards(),
            self.workspace.thumbnails,
            opened=viewer.opened,
            limit=viewer.limit,
        )
