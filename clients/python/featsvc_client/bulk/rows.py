"""Encoded pictures in a column of Parquet files: bare, or beside their paths as `datasets` of Hugging Face has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featsvc_client.bulk.extra import Refused
from featsvc_client.bulk.items import Item, failing, stamp

AT_ONCE = 16
DAMAGED = (OSError, pa.ArrowException)
BYTES = "bytes"
"""The part of a column that `datasets` calls so."""


@dataclass(frozen=True)
class Rows:
    """A Parquet file."""

    path: Path
    key: str
    column: str
    """With the pictures; empty where it is the only one that may have some."""

    def items(self) -> Iterator[Item]:
        """A picture of each row, by the number of the row."""
        number, seen = 0, stamp(self.path)
        try:
            with pq.ParquetFile(self.path) as file:
                column = self.chosen(file.schema_arrow)
                for batch in file.iter_batches(AT_ONCE, columns=[column]):
                    for value in batch.column(0):
                        row_seen = row_stamp(seen, number, column)
                        yield Item(self.row_key(number), row_seen, partial(content, value))
                        number += 1
        except DAMAGED as error:
            yield failing(self.key, self.path, error)

    def count(self) -> int:
        """Its rows."""
        try:
            return int(pq.read_metadata(self.path).num_rows)
        except DAMAGED:
            return 1

    def row_key(self, number: int) -> str:
        """What the picture of a row is called."""
        return f"{self.key}/{number:08d}"

    def chosen(self, schema: pa.Schema) -> str:
        """The column with the pictures; raises Refused where that is not clear."""
        found: list[str] = [field.name for field in schema if _has_bytes(field.type)]
        if self.column in found:
            return self.column
        if self.column or len(found) != 1:
            what = f"no column {self.column} of bytes" if self.column else f"{len(found)} columns of bytes"
            raise Refused(
                f"{self.path}: {what} ({', '.join(found) or 'none'}): --column names the one to read"
            )
        (only,) = found
        return only


def row_stamp(of_file: str, number: int, column: str) -> str:
    """What changes when the file of a row is written again, or another column of it is read."""
    return f"{of_file} {number} {column}"


# Any: pyarrow's values.
def content(value: Any) -> bytes:
    """The picture of a row; raises ValueError where it has none."""
    found = value.as_py()
    if isinstance(found, dict):
        found = found.get(BYTES)
    if not found:
        raise ValueError("this row has no picture")
    return bytes(found)


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index(BYTES)
        return place >= 0 and _has_bytes(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
