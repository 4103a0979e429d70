from __future__ import annotations

from pathlib import Path

import pytest

from latentbench.results.errors import UserError
from latentbench.results.filters import select
from latentbench.results.rows import rows


@pytest.mark.parametrize(
    ("where", "cells"),
    [
        ("modality=waveform", ["sound-a-0", "sound-b-0"]),
        ("tsr>=12", ["small-0", "vq-0", "small-1", "vq-1", "small-2", "vq-2"]),
        ("tsr < 4", ["sound-b-0"]),
        (["tsr<=6", "seed=2"], ["large-2"]),
        (["recipe!=kl-vae", "modality==image", "status=finished"], ["vq-0"]),
        (["status~OUTOFMEMORY"], ["vq-1"]),
        (["discrete=true", "seed>0"], ["vq-1", "vq-2"]),
        ("bottleneck_beta=1e-6", ["large-0", "large-1", "large-2"]),
        (["psnr>20", "psnr<20.3"], ["small-1"]),
        ("protocols.si_sdr=", ["sound-a-0", "sound-b-0"]),
        (["protocols.psnr~per-image", "seed=0", "bits_per_sample=2048"], ["vq-0"]),
    ],
)
def test_filters(folder: Path, where: str | list[str], cells: list[str]) -> None:
    assert [row["cell"] for row in select(rows([folder]), where)] == cells


def test_no_filter_keeps_all(folder: Path) -> None:
    assert len(select(rows([folder]), None)) == len(select(rows([folder]), [])) == 11


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("modalty=image", "filter 'modalty=image': unknown column 'modalty'; did you mean 'modality'?"),
        ("psnr", "filter 'psnr': write <column><operator><value>"),
        ("tsr>large", "filter 'tsr>large': > compares numbers, 'large' is none"),
        ("protocols.psn=x", "unknown metric 'psn'; did you mean 'psnr'?"),
        (["tsr>1000", "seed=0"], "no cell of 11 meets 'tsr>1000' and 'seed=0'"),
    ],
)
def test_bad_filters_are_one_line(folder: Path, where: str | list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        select(rows([folder]), where)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
