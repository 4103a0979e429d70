"""The `doctor` command's page."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from latentbench.bench import doctor, hardware
from latentbench.tokenizers import weights


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(hardware, "gpus", lambda: [hardware.Gpu("Big", 80 * 2**30)])
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", "7")
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    return doctor.examine()


def test_versions_devices_and_cache(page: str, tmp_path: Path) -> None:
    assert f"torch        {version('torch')}" in page
    assert f"latentbench  {version('latentbench')}" in page
    assert f"{hardware.cores()} cores" in page
    assert "cuda:0     Big, 80.0 GiB" in page
    assert f"{tmp_path / 'not' / 'yet'}: 0.00 of 7 GB used" in page


@pytest.mark.parametrize("name", weights.known)
def test_weights_found_and_missing(page: str, tmp_path: Path, name: str) -> None:
    """Of all known weights, under each of their file names, exactly the file that is there is reported as found."""
    missing = [f"  {row:14} missing; for {file.what}" for row, file in weights.known.items()]
    assert [line for line in page.splitlines() if "; for " in line] == missing
    for filename in reversed(weights.known[name].filenames):  # the best last, so that it is preferred
        path = tmp_path / filename
        path.touch()
        assert [(row, file) for row, file, _ in weights.doctor_rows() if file is not None] == [(name, path)]
        expected = [
            f"  {row:14} {f'found: {path}' if row == name else 'missing'}; for {file.what}"
            for row, file in weights.known.items()
        ]
        assert [line for line in doctor.examine().splitlines() if "; for " in line] == expected


def test_every_kind_of_weights_is_known() -> None:
    assert {"inception", "alexnet_lpips", "i3d", "yamnet", "musicnn", "mobilenet_v2"} <= set(weights.known)


def test_a_package_that_is_not_there() -> None:
    assert doctor._version("no-such-package") == "not installed"
