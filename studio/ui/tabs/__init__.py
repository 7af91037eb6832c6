"""One file per tab; each defines `TAB`, and `lora_loom.studio.ui.page` finds them by reading this folder."""
