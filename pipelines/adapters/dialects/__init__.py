"""One file per family of key names; `lora_loom.pipelines.adapters.dialect` finds them by scanning this folder.

A dialect module holds NAME, `detect(keys) -> float` in [0, 1] and `parse(keys, target) -> ParsedKeys`.
"""
