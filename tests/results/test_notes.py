"""What stands below a table about what its columns are compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


def notes(tmp_path: Path, add: Add, **splits: str) -> str:
    store = Store(tmp_path)
    metrics = [
        Metric(
            name=name,
            value=1.0,
            interval=(0.9, 1.1),
            n=64,
            direction="none" if name.startswith("fd") else "lower",
            role="distribution",
            protocol=f"net; reference: {split} split; {name}",
        )
        for name, split in splits.items()
    ]
    metrics += [Metric(name="codebook_use", value=0.5, direction="higher", n=64, role="latents")]
    store.write_suite("s", [add(store, name, metrics=metrics, recipe=name) for name in ("a", "b")])
    return " ".join(leaderboard([store.root]).split())


def test_distances_from_two_sets_are_told_apart(tmp_path: Path, add: Add) -> None:
    text = notes(tmp_path / "two", add, rfd_net="val", gfd_net="train", fd_floor_net="train")
    assert (
        "Distances from different sets are not to be held against each other: rfd_net from the val split; gfd_net, "
        "fd_floor_net from the train split." in text
    )
    text = notes(tmp_path / "one", add, rfd_net="val", gfd_net="val", fd_floor_net="val")
    assert "held against each other" not in text
    assert "fd_floor_net: the distance that as many real signals have" in text
    assert "as many real signals" not in notes(tmp_path / "r", add, rfd_net="val")


def test_use_of_codes_is_called_a_lower_bound(tmp_path: Path, add: Add) -> None:
    assert "codebook_use: a lower bound where codes are rare" in notes(tmp_path, add, rfd_net="val")
