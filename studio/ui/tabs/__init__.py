"""One file per tab; each defines `TAB`, and `studio.ui.page` finds them by reading this folder."""
