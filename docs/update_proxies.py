"""Measures what each proxy costs and writes the table "costs" of proxies.md:

    python -P docs/update_proxies.py [--keep]

(`--keep` measures nothing: it brings versions and what the grids say up to date.)

Each proxy has its version, the CPU seconds of one thread that 10,000 latents took, the floating-point operations of its
matrix products there as a share of a prior's training in the suite calibration-image (torch counts those alone, so a
dash is not nothing: sorting, counting and decompositions are not in it), and the seconds that it took on the grids of
calibration.md, whose files say so.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from latentbench.tasks.proxies import proxies
from latentbench.tasks.proxies.interface import ProxyInput, compute

PAGE = Path(__file__).with_name("proxies.md")
GRIDS = Path(__file__).parents[1] / "results" / "calibrations"
BEGIN, END = "<!-- costs:begin -->", "<!-- costs:end -->"
HEADS = ("proxy", "version", "s, 10,000 latents", "FLOPs, share of a prior's", "s, on our grids")
PRIOR = 2.5e12  # training.flops of the suite calibration-image
SAMPLES = 10_000


def latents(n: int = SAMPLES) -> ProxyInput:
    """Smooth latents of 4×8×8 in ten classes, with a codebook of 256 whose codes go with the first channel."""
    torch.manual_seed(0)
    labels = torch.arange(n) % 10
    z = torch.nn.functional.avg_pool2d(torch.randn(n, 4, 10, 10), 3, stride=1) * 3
    z += torch.randn(10, 4, 8, 8)[labels] / 2
    codes = (torch.special.ndtr(z[:, :1]) * 256).long().clamp(0, 255)
    return ProxyInput.of(z, labels=labels, codes=codes, codebook_sizes=(256,))


def measured(name: str, inputs: ProxyInput) -> tuple[str, str]:
    """CPU seconds and the share of FLOPs, as the table has them."""
    compute(name, ProxyInput.of(torch.randn(100, 4, 8, 8)))  # what it imports is not counted
    begun = time.process_time()
    compute(name, inputs)
    seconds = time.process_time() - begun
    with FlopCounterMode(display=False) as counter:
        compute(name, inputs)
    share = 100 * counter.get_total_flops() / PRIOR
    return _short(seconds), (f"{share:.2g} %" if share >= 0.001 else "< .001 %") if share else "–"


def on_grids() -> dict[str, str]:
    """By metric the least and the most seconds that one tokenizer's took in the mean of a grid."""
    spent: dict[str, list[float]] = {}
    for path in sorted(GRIDS.glob("*.csv")):
        said = re.search(r"^# seconds: (.*)$", path.read_text(), re.MULTILINE)
        for part in said[1].split(",") if said else ():
            name, _, text = part.rpartition("=")
            spent.setdefault(name.strip(), []).append(float(text))
    return {name: _range(values) for name, values in spent.items()}


def _range(values: list[float]) -> str:
    least, most = _short(min(values)), _short(max(values))
    return least if least == most else f"{least} to {most}"


def _short(seconds: float) -> str:
    return "< .01" if seconds < 0.01 else f"{seconds:.2g}"


def table(costs: Mapping[str, tuple[str, str]]) -> str:
    """The table, in the registry's order, with what was measured by proxy."""
    grids = on_grids()
    rows = [HEADS, ("---", *["---:"] * (len(HEADS) - 1))]
    for name in proxies.names():
        part = proxies.get(name)
        if part.__module__.startswith("latentbench."):
            first = re.sub(r"<\w+>", r"\\d+", (part.reports or ("",))[0])
            seconds = next((text for metric, text in grids.items() if re.fullmatch(first, metric)), "not measured")
            rows.append((f"`{name}`", str(part.version), *costs[name], seconds))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def read(page: str) -> dict[str, tuple[str, str]]:
    """What the page says was measured, by proxy."""
    block = page.partition(BEGIN)[2].partition(END)[0]
    lines = (line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("| `"))
    return {cells[0].strip("`"): (cells[2], cells[3]) for cells in lines}


def replaced(page: str, content: str) -> str:
    """The page with its block filled anew. Raises ValueError unless there is one."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page needs one {BEGIN} and one {END}")
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


def main(*, keep: bool = False) -> None:
    """Measure, unless what the page says is kept, and fill the block."""
    page = PAGE.read_text()
    PAGE.write_text(replaced(page, table(read(page) if keep else measured_all())))


def measured_all() -> dict[str, tuple[str, str]]:
    """What the table has of each proxy."""
    torch.set_num_threads(1)
    inputs = latents()
    costs = {}
    for name in proxies.names():
        costs[name] = measured(name, inputs)
        print(name, *costs[name], flush=True)
    return costs


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--keep"]):
        sys.exit("update_proxies.py takes --keep, or nothing")
    main(keep=bool(sys.argv[1:]))
