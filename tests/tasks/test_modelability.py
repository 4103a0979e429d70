"""The modelability task: proxies over stored latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.config import ModelabilityConfig
from latentbench.tasks.encoding import write_latents, write_statistics
from latentbench.tasks.latents import LatentStore
from latentbench.tasks.modelability import measure
from latentbench.tasks.proxies import proxies
from latentbench.tasks.proxies.interface import ProxyInput, compute


def stored(toys: SimpleNamespace, folder: Path, tokenizer: Any) -> LatentStore:
    data = toys.Data(train=60)
    for name in ("train", "val"):
        write_latents(tokenizer, getattr(data, name), folder, name, device=torch.device("cpu"), batch_size=16)
    write_statistics(folder)
    return LatentStore.open(folder, tokenizer.spec)


def test_proxies_see_the_training_split_at_the_mode(toys: SimpleNamespace, tmp_path: Path) -> None:
    store = stored(toys, tmp_path, toys.Identity(std=0.5))
    told: list[tuple[int, int, str]] = []
    names = ("viv", "effective_rank", "high_frequency_share")
    config = ModelabilityConfig(proxies=names)
    result = measure(store, config, progress=lambda *facts: told.append(facts))
    assert store.mean is not None
    assert store.std is not None
    data = toys.Data(train=60).train
    labels = torch.from_numpy(data.labels)
    direct = ProxyInput(values=data.data, mean=store.mean, std=store.std, labels=labels)
    expected = {metric.name: metric.value for name in names for metric in compute(name, direct)}
    assert {metric.name: metric.value for metric in result.metrics} == expected
    assert set(result.run["proxy_seconds"]) == set(names)
    assert told == [(1, 3, "viv"), (2, 3, "effective_rank"), (3, 3, "high_frequency_share")]


def test_samples_limit_what_is_read(toys: SimpleNamespace, tmp_path: Path) -> None:
    store = stored(toys, tmp_path, toys.Identity())
    for samples, n in ((0, 60), (24, 24), (10_000, 60)):
        result = measure(store, ModelabilityConfig(proxies=("local_correlation",), samples=samples))
        assert [metric.n for metric in result.metrics] == [n]


def test_codes_of_a_discrete_tokenizer_are_read_too(toys: SimpleNamespace, tmp_path: Path) -> None:
    store = stored(toys, tmp_path, toys.Levels(8))
    result = measure(store, ModelabilityConfig(proxies=("codes",)))
    assert store.train.codes is not None
    share = len(np.unique(store.train.codes)) / 8
    assert next(m for m in result.metrics if m.name == "codebook_use").value == pytest.approx(share)


@pytest.mark.slow
def test_every_proxy_works_on_both_kinds(toys: SimpleNamespace, tmp_path: Path) -> None:
    for name, tokenizer in (("continuous", toys.Identity()), ("discrete", toys.Levels())):
        store = stored(toys, tmp_path / name, tokenizer)
        result = measure(store, ModelabilityConfig(proxies=tuple(proxies.names())))
        names = [metric.name for metric in result.metrics]
        assert len(names) == len(set(names)) > 5
        assert set(result.run["proxy_seconds"]) == set(proxies.names())


def test_an_unknown_proxy_is_one_line(toys: SimpleNamespace, tmp_path: Path) -> None:
    store = stored(toys, tmp_path, toys.Identity())
    with pytest.raises(UserError, match="unknown proxy 'vivv'; did you mean 'viv'"):
        measure(store, ModelabilityConfig(proxies=("vivv",)))


@pytest.mark.parametrize(
    ("topology", "skipped"),
    [
        ("grid", ()),
        ("sequence", ("high_frequency_share", "local_correlation")),
        ("set", ("high_frequency_share", "local_correlation", "viv")),
    ],
)
def test_what_compares_positions_is_left_out_where_they_have_no_place(
    toys: SimpleNamespace, tmp_path: Path, topology: Any, skipped: tuple[str, ...]
) -> None:
    store = stored(toys, tmp_path, toys.Identity())
    grid = replace(store.spec.grid, topology=topology)
    store = replace(store, spec=replace(store.spec, grids=(grid,)))
    names = ("viv", "high_frequency_share", "local_correlation", "moments")
    result = measure(store, ModelabilityConfig(proxies=names))
    assert tuple(sorted(result.extra.get("skipped", {}))) == skipped
    assert set(result.run["proxy_seconds"]) == set(names) - set(skipped)
    assert all("compares positions" in reason for reason in result.extra.get("skipped", {}).values())
    assert ("viv" in {metric.name for metric in result.metrics}) == ("viv" not in skipped)
