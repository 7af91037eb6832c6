"""Adapters: a LoRA file of any dialect becomes exact factors on a base model's modules, with a receipt of what fitted.

`load.load_adapter` is the way in, `write.save_adapter` the way out; `safetensors_file` is the only place that opens a
file.
"""
