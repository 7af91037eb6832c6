"""Features that were computed once: kept on disk by the hash of the pixels and the id of the extractor."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.evaluation.extractor import FeatureExtractor

VARIABLES = 500  # of one query


def default_cache() -> Path:
    """Where features are kept if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loom" / "features.sqlite"


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """SHA-256 of a picture's size and pixels [h w 3], whatever its file."""
    return hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\n".encode() + pixels.tobytes()).hexdigest()


class FeatureCache:
    """One SQLite file that several processes may use at once; `path` None keeps nothing beyond this object."""

    def __init__(self, path: Path | None = None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", timeout=60, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS features (extractor TEXT, pixels TEXT, vector BLOB,"
                " PRIMARY KEY (extractor, pixels)) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise OutputError(
                f"the feature cache {path} cannot be opened", found=str(error), remedy="Choose another with --cache"
            ) from error

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def features(self, extractor: FeatureExtractor, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features [n d] of pixels [n h w 3]: those known from the cache, the others computed and kept."""
        label = f"{extractor.info.id}+{extractor.info.resizer}"
        hashes = [pixel_hash(picture) for picture in pixels]
        known = self._read(label, hashes)
        new = {key: index for index, key in enumerate(hashes) if key not in known}  # equal pictures once
        if new:
            computed = extractor.embed(pixels[list(new.values())]).astype(np.float32, copy=False)
            fresh = dict(zip(new, computed, strict=True))
            self._write(label, fresh)
            known |= fresh
        return np.stack([known[key] for key in hashes])

    def _read(self, label: str, hashes: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(hashes), VARIABLES):
            part = hashes[start : start + VARIABLES]
            marks = ",".join("?" * len(part))
            query = f"SELECT pixels, vector FROM features WHERE extractor = ? AND pixels IN ({marks})"
            for key, blob in self._database.execute(query, (label, *part)):
                found[key] = np.frombuffer(blob, dtype=np.float32)
        return found

    def _write(self, label: str, features: dict[str, NDArray[np.float32]]) -> None:
        rows = [(label, key, vector.tobytes()) for key, vector in features.items()]
        try:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise OutputError(
                "features could not be kept", found=str(error), remedy="Choose another --cache"
            ) from error
