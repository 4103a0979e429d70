"""The `doctor` command's page."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from latentbench.bench import doctor, hardware
from latentbench.tokenizers import weights


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(hardware, "gpus", lambda: [("Big", 80 * 2**30)])
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


def test_weights_found_and_missing(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name, _, _ in weights.doctor_rows()]
    assert {"inception", "i3d", "yamnet", "musicnn", "mobilenet_v2"} <= set(names)
    assert sum("missing; for" in line for line in page.splitlines()) == len(names)
    (tmp_path / "yamnet.safetensors").touch()
    found = [name for name, path, _ in weights.doctor_rows() if path]
    assert all(f"{name:14} found: " in doctor.examine() for name in found)


def test_a_package_that_is_not_there() -> None:
    assert doctor._version("no-such-package") == "not installed"
