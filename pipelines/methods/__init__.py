"""One file per fusion method; `lora_loom.pipelines.registry` finds them by reading this folder."""
