"""`curve.jsonl` follows the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from latentbench.bench.training_log import CURVE, TrainingLog


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]


def test_rows_are_cut_back_to_what_the_checkpoint_knows(tmp_path: Path) -> None:
    curve = TrainingLog(tmp_path, [])
    for step in (1, 2, 3):
        curve.append({"step": step, "loss": 0.5}, samples_per_second=10.04)
    TrainingLog(tmp_path, [{"step": 1, "loss": 0.5}]).append({"step": 2, "loss": 0.25}, samples_per_second=20)
    assert lines(tmp_path) == [
        {"step": 1, "loss": 0.5, "samples_per_second": 10.0},
        {"step": 2, "loss": 0.25, "samples_per_second": 20},
    ]


def test_a_torn_or_missing_file_is_made_whole(tmp_path: Path) -> None:
    rows = [{"step": 1.0, "loss": 0.5}, {"step": 2.0, "loss": 0.25}]
    (tmp_path / CURVE).write_text('{"step": 1, "loss": 0.5, "samples_per_second": 9}\n{"step": 2, "lo')
    TrainingLog(tmp_path, rows)
    assert lines(tmp_path) == [rows[0] | {"samples_per_second": 9}, rows[1]]
    (tmp_path / CURVE).unlink()
    TrainingLog(tmp_path, rows)
    assert lines(tmp_path) == rows


def test_a_line_that_can_t_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    curve = TrainingLog(tmp_path, [])
    (tmp_path / CURVE).unlink()
    (tmp_path / CURVE).mkdir()
    curve.append({"step": 1, "loss": 0.5}, samples_per_second=1)
