"""Seeds by hash: the noise of a picture depends on its prompt and its number alone, not on who draws it and when."""

from __future__ import annotations

import hashlib

from lora_loom.pipelines.request import MAX_IMAGES, MAX_SEED


def hashed_seed(run_seed: int, prompt_id: str, sample_index: int) -> int:
    """The first 8 bytes of SHA-256(run_seed | prompt_id | sample_index), big-endian, within the seeds of a request.

    All methods and LoRA sets share it, so that they can be compared on the same noise.
    """
    digest = hashlib.sha256(f"{run_seed}|{prompt_id}|{sample_index}".encode()).digest()
    return min(int.from_bytes(digest[:8], "big") & MAX_SEED, MAX_SEED - MAX_IMAGES)
