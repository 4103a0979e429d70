"""`latentbench statistics` writes what a suite's `data.reference` reads: a run against its own statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.bench import cli
from latentbench.bench.npz_statistics import write_statistics
from latentbench.bench.plan import make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.rows import rows
from latentbench.tasks.nets import nets
from latentbench.tasks.statistics_file import StatisticsFile


def suite(**options: Any) -> dict[str, Any]:
    data = {"size": 16, "samples": 64, "val": 40, **options.pop("data", {})}
    return {
        "name": "external",
        "data": data,
        "tokenizers": {"recipe": "jpeg", "codec": {"kind": "jpeg", "quality": 20}},
        "tasks": ["reconstruction"],
        "features": ["scattering"],
        "reconstruction": {"rate": False},
        **options,
    }


@pytest.mark.slow
def test_a_run_against_its_own_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "own.npz"
    line = write_statistics(suite(), net="scattering", out=out)
    assert line == f"{out}: mu and sigma of 40 samples of procedural-image-16, val, under scattering"
    file = StatisticsFile.inspect(out)
    assert (file.net, file.n, file.dim) == ("scattering", 40, 96)
    data = {"size": 16, "samples": 64, "val": 40}
    both = [data, {**data, "name": "file", "reference": str(out)}]
    outcome = run_suite(suite() | {"data": both}, out=tmp_path / "run", devices="cpu", engine="inline")
    assert not outcome.failed
    own, external = (row.metrics for row in rows([outcome.root]))
    assert external["rfd_scattering"].value == pytest.approx(own["rfd_scattering"].value, rel=1e-6)
    assert external["psnr"] == own["psnr"]
    assert "reference: statistics " in external["rfd_scattering"].protocol
    assert "n = 40 against 40" in external["rfd_scattering"].protocol
    assert external["rkd_scattering"].value is None
    assert external["rfd_scattering"].protocol != own["rfd_scattering"].protocol


def test_the_files_content_is_in_the_key_and_its_place_is_not(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        x = generator.normal(size=(200, 96))
        np.savez(tmp_path / f"{name}.npz", mu=x.mean(0), sigma=np.cov(x, rowvar=False), net=np.array("scattering"))
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes())

    def key(name: str) -> str:
        plan = make_plan(load_suite(suite(data={"reference": str(tmp_path / f"{name}.npz")})), {})
        (job,) = (job for job in plan.jobs.values() if job.kind == "reconstruction")
        return job.id

    assert key("a") == key("c")
    assert key("a") != key("b")


def test_what_no_net_can_use_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "fid.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    data = {"reference": str(tmp_path / "fid.npz")}
    with pytest.raises(UserError, match=r"suite: data\[0\]\.reference: .*moments of FID's Inception alone, and none"):
        make_plan(load_suite(suite(data=data)), {})
    with pytest.raises(UserError, match=r"the suite has no net that it is of: features = \['inception'\]"):
        make_plan(load_suite(suite(data=data, features=["encoder"])), {})
    with pytest.raises(UserError, match=r"data\[0\]\.reference: .*none\.npz: no such file"):
        make_plan(load_suite(suite(data={"reference": str(tmp_path / "none.npz")})), {})
    np.savez(tmp_path / "s.npz", mu=np.zeros(96), sigma=np.eye(96), net=np.array("scattering"))
    scored = suite(
        data={"reference": str(tmp_path / "s.npz")},
        tasks=["generation"],
        tokenizers={"recipe": "kl-vae"},
        generation={"scores": ["manifold"]},
    )
    del scored["reconstruction"]
    with pytest.raises(UserError, match="the score 'manifold' needs features of the reference"):
        make_plan(load_suite(scored), {})


def test_pictures_are_the_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "pictures.npz"
    assert "arr_0, 40 pictures" in write_statistics(suite(), pictures=True, out=out)
    images = StatisticsFile.inspect(out).images()
    assert images.shape == (40, 16, 16, 3)
    assert images.std() > 10


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"expected a name that ends in \.npz"):
        write_statistics(suite(), out=tmp_path / "x.pt")
    with pytest.raises(UserError, match="data set 'other'"):
        write_statistics(suite(), data="other", out=tmp_path / "x.npz")
    two = suite() | {"data": [{"size": 16}, {"size": 32}]}
    with pytest.raises(UserError, match="several data sets; choose one of procedural-image-16, procedural-image-32"):
        write_statistics(two, out=tmp_path / "x.npz")
    sounds = suite(data={"modality": "waveform", "size": 32})
    with pytest.raises(UserError, match="arr_0 is of pictures"):
        write_statistics(sounds, pictures=True, out=tmp_path / "x.npz")
    misspelt = ["statistics", "quickstart", "--data", "shapes", "--net", "incepton"]
    assert cli.main([*misspelt, "--out", str(tmp_path / "x.npz")]) == 2
    assert "inception" in capsys.readouterr().err


def test_every_sample_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments over batches are those of all features together, unbiased as numpy's."""
    from latentbench.bench.datasets import open_dataset
    from latentbench.bench.datasets.config import DataConfig
    from latentbench.tasks.features import collect
    from latentbench.tasks.interface import batches

    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    write_statistics(suite(data={"val": 70}), net="scattering", out=tmp_path / "s.npz")
    data = open_dataset(DataConfig(size=16, samples=64, val=70), cache=tmp_path / "cache")
    net = nets.get("scattering")().load(data.signal, torch.device("cpu"))
    features: Tensor = collect(net, batches(data.val, 70, torch.device("cpu")))
    mu, sigma = StatisticsFile.inspect(tmp_path / "s.npz").moments()
    np.testing.assert_allclose(mu, features.double().mean(0).numpy(), atol=1e-6)
    np.testing.assert_allclose(sigma, np.cov(features.double().numpy(), rowvar=False), atol=1e-5)
