"""Parquet tables, as data sets are published: columns by name, a missing value says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import SuiteError
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow

ROWS_AT_ONCE = 1024


def read(path: Path) -> Iterator[RawRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            row = 0
            for part in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for values in part.to_pylist():
                    row += 1
                    yield row, {name: _plain(value) for name, value in values.items() if value is not None}
    except (pa.ArrowException, pa.ArrowInvalid) as error:
        raise SuiteError(f"{path.name} is not a parquet table", found=str(error)[:200]) from error


def _plain(value: Any) -> Any:
    """Without the missing fields that parquet fills into every struct of a column."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list) else value


FORMAT = PromptFormat("parquet", read, suffixes=(".parquet",))
