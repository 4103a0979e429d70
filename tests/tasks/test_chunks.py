"""What a pass has collected outlives its process, and is never mixed with another's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentbench.bench.worker_protocol import clean_attempt
from latentbench.tasks import chunks as module
from latentbench.tasks.chunks import PATTERN, Chunks


@pytest.fixture(autouse=True)
def _each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every addition is a chunk of its own."""
    monkeypatch.setattr(module, "SECONDS", 0.0)


def filled(folder: Path, parts: int = 3) -> Chunks:
    chunks = Chunks(folder, {"pass": "x"})
    for part in range(parts):
        chunks.add(2, {"rows": torch.full((2, 3), float(part)), "more": torch.arange(2)}, {"seconds": 0.5})
    return chunks


def test_another_process_goes_on(tmp_path: Path) -> None:
    before = filled(tmp_path)
    after = Chunks(tmp_path, {"pass": "x"})
    assert (after.done, after.totals) == (6, {"seconds": 1.5})
    assert all(torch.equal(after.rows()[name], tensor) for name, tensor in before.rows().items())
    after.add(1, {"rows": torch.full((1, 3), 9.0)}, {"seconds": 1.0})
    last = Chunks(tmp_path, {"pass": "x"})
    assert (last.done, last.totals["seconds"], len(last.rows()["rows"])) == (7, 2.5, 7)


def test_from_a_damaged_chunk_on_nothing_counts(tmp_path: Path) -> None:
    filled(tmp_path)
    second = sorted(tmp_path.glob(PATTERN))[1]
    second.write_bytes(second.read_bytes()[:40])
    assert Chunks(tmp_path, {"pass": "x"}).done == 2
    assert len(list(tmp_path.glob(PATTERN))) == 1


@pytest.mark.parametrize("place", range(8))
def test_a_flipped_bit_is_noticed(tmp_path: Path, place: int) -> None:
    filled(tmp_path)
    second = sorted(tmp_path.glob(PATTERN))[1]
    content = bytearray(second.read_bytes())
    content[len(content) * place // 8 + 3] ^= 4
    second.write_bytes(content)
    assert Chunks(tmp_path, {"pass": "x"}).done == 2


def test_another_pass_starts_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    assert Chunks(tmp_path, {"pass": "y"}).done == 0
    assert not list(tmp_path.glob(PATTERN))


def test_a_finished_job_keeps_none(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "train.rows.part").touch()
    clean_attempt(tmp_path)
    assert not list(tmp_path.iterdir())
