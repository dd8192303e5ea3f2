"""Compares an export as Parquet, read by pyarrow and by DuckDB, with the same export as CSV."""

import csv
import sys
from datetime import datetime, timezone

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

parquet, text = sys.argv[1:]
table = pq.read_table(parquet)
assert table.schema.field("time").type == pa.timestamp("ms", tz="UTC"), table.schema
assert table.schema.field("value").type == pa.float64(), table.schema
for name in ("greenhouse", "device", "channel", "unit", "quality"):
    assert table.schema.field(name).type == pa.string(), table.schema
groups = pq.ParquetFile(parquet).metadata
assert groups.row_group(0).column(4).compression == "ZSTD"
assert "RLE_DICTIONARY" in groups.row_group(0).column(3).encodings


def row_of_csv(row):
    time = datetime.fromisoformat(row["time"].replace("Z", "+00:00"))
    value = float(row["value"]) if row["value"] else None
    return (time, row["greenhouse"], row["device"], row["channel"], value, row["unit"], row["quality"])


with open(text, newline="", encoding="utf-8") as lines:
    expected = [row_of_csv(row) for row in csv.DictReader(lines)]
rows = [tuple(row.values()) for row in table.to_pylist()]
assert rows == expected, "pyarrow reads other rows"

database = duckdb.connect()
database.execute("SET TimeZone = 'UTC'")
query = "SELECT epoch_ms(time), greenhouse, device, channel, value, unit, quality FROM read_parquet(?)"
rows = database.execute(query, [parquet]).fetchall()
begin = datetime(1970, 1, 1, tzinfo=timezone.utc)
expected = [(round((row[0] - begin).total_seconds() * 1000), *row[1:]) for row in expected]
assert rows == expected, "DuckDB reads other rows"
print(f"{len(rows)} rows agree")
