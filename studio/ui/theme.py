"""How the studio looks: Gradio's plain theme in Loom's colours and the system's own fonts; style.css does the rest."""

from __future__ import annotations

from pathlib import Path

from gradio import themes

STYLE_SHEET = Path(__file__).with_name("style.css")
SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("answers.js", "own_tab.js"))
LOGO = FAVICON = Path(__file__).with_name("logo.svg")
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> themes.Base:
    """The theme; it names fonts of the system only, so that no page ever asks a font server."""
    return themes.Base(
        primary_hue=themes.colors.indigo,
        secondary_hue=themes.colors.rose,
        neutral_hue=themes.colors.slate,
        radius_size=themes.sizes.radius_lg,
        spacing_size=themes.sizes.spacing_md,
        text_size=themes.sizes.text_md,
        font=SANS,
        font_mono=MONO,
    ).set(
        body_background_fill="#f5f4f1",
        body_background_fill_dark="#14151a",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1d1f26",
        background_fill_secondary="#faf9f7",
        background_fill_secondary_dark="#191b21",
        block_background_fill="*background_fill_primary",
        block_background_fill_dark="*background_fill_primary",
        block_border_color="*border_color_primary",
        border_color_primary="#e3e0da",
        border_color_primary_dark="#30333d",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        checkbox_label_background_fill="*background_fill_secondary",
        checkbox_label_background_fill_dark="*background_fill_secondary",
        checkbox_label_background_fill_hover="*border_color_primary",
        checkbox_label_background_fill_hover_dark="*border_color_primary",
        button_secondary_background_fill="*background_fill_primary",
        button_secondary_background_fill_dark="*background_fill_primary",
        button_secondary_background_fill_hover="*background_fill_secondary",
        button_secondary_background_fill_hover_dark="*border_color_primary",
        block_label_border_width="0px",
        block_title_text_weight="600",
        block_label_text_weight="600",
        block_shadow="none",
        input_background_fill="*background_fill_secondary",
        input_background_fill_dark="#14151a",
        input_border_width="1px",
        input_border_color="*border_color_primary",
        input_border_color_dark="*border_color_primary",
        button_primary_background_fill="#4f46c8",
        button_primary_background_fill_dark="#6259dd",
        button_primary_background_fill_hover="#4039ad",
        button_primary_background_fill_hover_dark="#746be8",
        button_primary_text_color="#ffffff",
        button_border_width="1px",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_secondary_border_color="*border_color_primary",
        button_secondary_border_color_dark="*border_color_primary",
        button_large_text_weight="600",
    )
