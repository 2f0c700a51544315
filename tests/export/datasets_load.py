"""Opens an export with `datasets.load_dataset` and compares each row with the line that it was read from.

    python3 tests/export/datasets_load.py DIR

The comparison is exact: a key that an object has not may not come back with null in it, and keys keep their order. Of a row itself the
library fills in the fields that it has not, for they are columns.
"""
import json
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
scratch = tempfile.TemporaryDirectory()
os.environ["HF_HOME"] = scratch.name

import datasets

import rows

datasets.disable_progress_bars()
loaded = datasets.load_dataset(str(rows.directory()))
expected = {split: [row for _, row in rows.rows(split)] for split in ("train", "validation")}
expected = {split: lines for split, lines in expected.items() if lines}
manifest = json.loads((rows.directory() / "manifest.json").read_text())
promised = {split: count["rows"] for split, count in manifest["splits"].items() if count["rows"]}
assert {split: len(table) for split, table in loaded.items()} == promised, f"{loaded} and {promised}"
assert set(loaded) == set(expected), f"{set(loaded)} for {set(expected)}"
for split, lines in expected.items():
    assert len(loaded[split]) == len(lines), f"{split}: {len(loaded[split])} rows for {len(lines)} lines"
    for number, (row, line) in enumerate(zip(loaded[split], lines), 1):
        row = {field: value for field, value in row.items() if field in line or value is not None}
        assert json.dumps(row) == json.dumps(line), f"{split}, row {number}:\n{json.dumps(row)}\n{json.dumps(line)}"


def arguments(row):
    """The arguments of each call, as objects whatever the format."""
    if "steps" in row:
        return [call["arguments"] for step in row["steps"] for call in step.get("tool_calls") or ()]
    if "mcp_reply" in row:
        return [row["mcp_reply"].get("arguments", {})] if row["mcp_reply"] else []
    given = [call["function"]["arguments"] for messages, _ in rows.conversations(row) for call in rows.calls(messages)]
    return [json.loads(one) if isinstance(one, str) else one for one in given]


called = [one for split in loaded.values() for row in split for one in arguments(row)]
shapes = {json.dumps(sorted(one) if isinstance(one, dict) else one) for one in called}
rows.done(**{split: len(lines) for split, lines in expected.items()}, calls=len(called), shapes=len(shapes))
