"""Records and suites changed by hand or by accident, yet readable: whatever shows them draws them or refuses."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.results.canonical import pretty
from latentbench.results.errors import UserError
from latentbench.results.gallery import gallery
from latentbench.results.leaderboard import leaderboard, show
from latentbench.results.metric import Metric
from latentbench.results.plot import plot
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]
HOSTILE: list[Any] = [
    *(0, -1, 2**63, 10**299, -(10**299), 1e299, -1e299, 1e-320, -0.0, 0.5, True, None),
    *("", " ", "psnr", "x", "\x00", "\x1b[2J", "..", "a/b", "reconstruction/../x", "\ud800", "[/red]", "9" * 400),
    *([], [[]], {}, {"x": 1}, [5.0, 1.0], [1.0, 5.0], ["psnr"], {"psnr": 3.0}, {"psnr": None}, list(range(50))),
]
NUMBERS = ["NaN", "Infinity", "1e400", f"1{'0' * 400}", f"-1{'0' * 5000}"]
FORMATS = ["md", "csv", "json", "latex", "html"]


def spots(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place below `node` where a value may be changed."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    for key in keys:
        yield node, key
        yield from spots(node[key])


def spoil(draw: random.Random, data: Any) -> bytes:
    """`data` with one or two places changed, as a file of records as they were before they had digests."""
    data = copy.deepcopy(data)
    marks: dict[str, str] = {}
    for _ in range(draw.choice([1, 1, 2])):
        node, key = draw.choice(list(spots(data)))
        how = draw.randrange(8)
        if how == 0:
            del node[key]
        elif how == 1 and isinstance(node, dict):
            node[draw.choice(["psnr", "x", "", "\x00", "value", "tsr"])] = node.pop(key)
        elif how == 2:
            marks[mark := f"number-{len(marks)}"] = draw.choice(NUMBERS)
            node[key] = mark
        else:
            node[key] = copy.deepcopy(draw.choice(HOSTILE))
    content = pretty(data)
    for mark, number in marks.items():
        content = content.replace(f'"{mark}"'.encode(), number.encode())
    return content


def drawn(folder: Path, out: Path) -> None:
    """All that can be made of a folder; a UserError of any of it is fine."""
    console = Console(width=80, file=(out / "terminal.txt").open("w", errors="backslashreplace"), force_terminal=True)
    calls: list[Callable[[], Any]] = [
        *(lambda format=format: json.dumps(leaderboard([folder], format=format)) for format in FORMATS),
        lambda: leaderboard([folder], columns="all", sort="psnr"),
        lambda: show([folder], console),
        lambda: plot([folder], x="bits_per_sample", y="psnr", group="cell", out=out / "p.svg"),
        lambda: gallery([folder], out=out / "gallery"),
    ]
    reasons = []
    for call in calls:
        try:
            call()
        except UserError as error:
            reasons.append(str(error))
    console.file.close()
    assert not [reason for reason in reasons if "\n" in reason]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_whatever_can_be_read_can_be_shown(folder: Path, tmp_path: Path, part: int) -> None:
    files = sorted(folder.glob("jobs/*/*/record.json")) + sorted(folder.glob("suites/*.json")) * 8
    for case in range(4):
        draw = random.Random(f"{part} {case}")
        path = draw.choice(files)
        before = path.read_bytes()
        data = json.loads(before)
        if path.name == "record.json":
            data["schema"] = 1
            del data["digests"], data["run"]["sha256"]
        else:
            del data["sha256"]
        path.write_bytes(spoil(draw, data))
        try:
            drawn(folder, tmp_path)
            list(Store(folder).iterate())
        except Exception as error:
            raise AssertionError(f"case {part} {case}: {path.read_bytes()[:3000]!r}") from error
        path.write_bytes(before)


def test_an_axis_called_like_a_metric(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path / "out")
    cells = [
        add(store, f"c{i}", metrics=[Metric(name="psnr", value=20.0 + i, direction="higher")], axes={"psnr": i})
        for i in range(2)
    ]
    cells.append(add(store, "c2", metrics=[], axes={"psnr": 7}))
    store.write_suite("s", cells)
    drawn(store.root, tmp_path)
    rows = json.loads(leaderboard([store.root], format="json"))
    assert [(row["reconstruction_psnr"], row["psnr"]) for row in rows] == [(20.0, 0), (21.0, 1), (None, 7)]
