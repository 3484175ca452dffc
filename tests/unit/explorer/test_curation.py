"""What curation kept, on the data page: the ledger's rows, also where none went."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from perf.explorer_store import finish, manifest
from tests.unit.explorer.conftest import client_of

from posttrain.explorer.app import open_site
from posttrain.store import write_json

STEP = {"label": "1-length", "verb": "filter", "config": {"filter": "length", "max": 9}}


@pytest.mark.parametrize("dropped", [0, 1, 2])
def test_a_ledger_is_shown_also_where_no_row_went(tmp_path: Path, dropped: int) -> None:
    folder = tmp_path / "run" / "kept"
    folder.mkdir(parents=True)
    steps = [{**STEP, "before": 2, "after": 2 - dropped}]
    write_json(folder / "curation.json", {"kind": "samples", "rows": 2, "kept": 2 - dropped, "steps": steps})
    rows = {
        "row": [0, 1],
        "id": ["a", "b"],
        "kept": [i >= dropped for i in range(2)],
        "dropped_by": pa.array(["1-length" if i < dropped else None for i in range(2)], pa.string()),
        "reason": pa.array(["too long" if i < dropped else None for i in range(2)], pa.string()),
    }
    pq.write_table(pa.table(rows), folder / "ledger.parquet")
    finish(folder, manifest("curate", "samples"))
    with client_of(open_site(tmp_path / "run")) as client:
        answer = client.get("/data")
    assert answer.status_code == 200
    assert f"{dropped} of 2 rows went" in answer.text
    assert answer.text.count("<td>too long</td>") == dropped
