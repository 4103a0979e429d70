"""Golden numbers: when one moves, the version of what moved it has to count up, or stored records would lie.

When a version has counted up, `LATENTBENCH_WRITE_GOLDEN=1 python -m pytest tests/bench/test_golden.py` writes them
anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

PATH = Path(__file__).parent / "golden.json"
NUMBERS = {
    "tokenizer": ("loss", "parameters", "flops"),
    "reconstruction": ("psnr", "ssim", "rfd_encoder_supervised", "rkd_encoder_supervised", "kl_bits", "rate_bits"),
    "modelability": ("viv", "effective_rank", "local_correlation", "high_frequency_share_25", "codebook_perplexity"),
    "prior": ("nll_bits", "flow_loss", "parameters", "flops"),
    "generation": ("gfd_encoder_supervised",),
}
# Rounding differs between processors, and training carries it on.
TOLERANCE = {"parameters": 0.0, "flops": 0.0, "psnr": 0.01, "rkd_encoder_supervised": 0.2}


def measured(out: Path) -> dict[str, dict[str, Any]]:
    """Versions and some numbers of each cell's jobs, by kind and recipe."""
    found: dict[str, dict[str, Any]] = {}
    for cell in json.loads((out / "suites" / "mini.json").read_text())["cells"]:
        for kind in NUMBERS:
            folder = out / "jobs" / cell["jobs"][kind]
            record, config = (json.loads((folder / name).read_text()) for name in ("record.json", "config.json"))
            numbers = {metric["name"]: metric["value"] for metric in record["metrics"]} | record["extra"]
            numbers["loss"] = numbers.get("losses", {}).get("loss")
            chosen = {name: numbers[name] for name in NUMBERS[kind] if numbers.get(name) is not None}
            found[f"{kind} {cell['recipe']}"] = {"versions": config["versions"], "numbers": chosen}
    return found


@pytest.mark.slow
def test_a_number_moves_with_a_version_or_not_at_all(undisturbed: Path) -> None:
    found = measured(undisturbed)
    if os.environ.get("LATENTBENCH_WRITE_GOLDEN"):
        PATH.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    golden = json.loads(PATH.read_text())
    assert found.keys() == golden.keys()
    wrong = []
    for job, expected in golden.items():
        versions, numbers = found[job]["versions"], found[job]["numbers"]
        if versions != expected["versions"]:
            wrong.append(f"{job}: its versions are now {versions}: write the golden numbers anew")
            continue
        for name, value in expected["numbers"].items():
            if numbers.get(name) != pytest.approx(value, rel=TOLERANCE.get(name, 0.05), abs=1e-9):
                wrong.append(f"{job}: {name} moved from {value} to {numbers.get(name)}, and no version counted up")
    assert not wrong, "\n".join(wrong)
