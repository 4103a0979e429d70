"""Presets: what they pin reaches the data, the keys and the protocols; what differs or is too few is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentbench.bench import cli
from latentbench.bench.data_counts import DataCounts, check_counts
from latentbench.bench.jobs import Job
from latentbench.bench.plan import make_plan
from latentbench.bench.presets import Preset, applied, load_preset, preset_names
from latentbench.bench.suite import Suite, load_suite
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.rows import rows
from latentbench.tokenizers import weights

MINE = """
description = "16 pixels"
count = 6
rounding = "uint8"
[data]
size = 16
resize = "adm"
[reconstruction]
rate = false
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path / "mine.toml"


@pytest.fixture
def weights_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files under the names of all weights, whose content no plan reads."""
    for known in weights.known.values():
        (tmp_path / known.filenames[0]).touch()
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))


@pytest.fixture
def photos(tmp_path: Path) -> Callable[[int], Path]:
    """`(n)`: a folder of n pictures of 40 x 24 pixels."""

    def make(n: int) -> Path:
        folder = tmp_path / f"photos{n}"
        folder.mkdir(exist_ok=True)
        generator = np.random.default_rng(0)
        for i in range(n):
            Image.fromarray(generator.integers(0, 256, (24, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        return folder

    return make


def suite(preset: str | Path, **options: Any) -> dict[str, Any]:
    return {
        "name": "presets",
        "protocol": str(preset),
        "data": {"source": "folder", "path": "photos", "name": "photos"} | options.pop("data", {}),
        "tokenizers": {"recipe": "jpeg", "label": options.pop("label", "jpeg")},
        "tasks": ["reconstruction"],
        **options,
    }


def job(checked: Suite) -> Job:
    plan = make_plan(checked, {data.label: "f" for data in checked.data})
    (found,) = (job for job in plan.jobs.values() if job.kind == "reconstruction")
    return found


def test_the_shipped_ones_say_what_they_pin() -> None:
    assert preset_names() == ["adm-256", "coco-val-256", "codec-16k", "imagenet-val-256", "video-17x256"]
    presets = {name: load_preset(name) for name in preset_names()}
    assert {name: preset.count for name, preset in presets.items()} == {
        "adm-256": 50_000,
        "coco-val-256": 5_000,
        "codec-16k": 2_620,
        "imagenet-val-256": 50_000,
        "video-17x256": 30,
    }
    page = (Path(__file__).parents[2] / "docs" / "presets.md").read_text()
    for name, preset in presets.items():
        assert preset.description
        assert f"`{name}`" in page
        assert preset.digest in page, f"docs/presets.md has another digest of {name} than {preset.digest}"
    assert len({preset.digest for preset in presets.values()}) == 5


@pytest.mark.usefixtures("weights_there")
@pytest.mark.parametrize("name", ["coco-val-256", "codec-16k", "imagenet-val-256", "video-17x256"])
def test_what_a_suite_leaves_out_is_the_presets(name: str) -> None:
    preset = load_preset(name)
    checked = load_suite(suite(name, tokenizers={"recipe": "identity"}))
    (data,) = checked.data
    assert data.modality is preset.modality
    assert all(getattr(data, key) == value for key, value in preset.data.items() if key != "modality")
    assert data.val == preset.count
    assert checked.features == preset.features
    assert job(checked).config["preset"] == {"name": name, "digest": preset.digest}
    options = checked.options["reconstruction"]
    assert all(getattr(options, key) == value for key, value in preset.reconstruction.items())


@pytest.mark.usefixtures("weights_there")
def test_adms_needs_its_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\[0\]: protocol 'adm-256' needs reference = .*in ADM's form"):
        load_suite(suite("adm-256"))
    moments = {"mu": np.zeros(2048), "sigma": np.eye(2048)}
    np.savez(tmp_path / "fid.npz", **moments)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"fid\.npz is none"):
        load_suite(suite("adm-256", data={"reference": str(tmp_path / "fid.npz")}))
    np.savez(tmp_path / "adm.npz", arr_0=np.zeros((4, 256, 256, 3), np.uint8), **moments)  # type: ignore[arg-type]
    checked = load_suite(suite("adm-256", data={"reference": str(tmp_path / "adm.npz")}))
    assert checked.options["generation"].samples == 50_000
    assert any(role.startswith("external_reference.inception") for role in job(checked).depends)
    with pytest.raises(UserError, match="compares with the data's own split: leave reference out"):
        load_suite(suite("imagenet-val-256", data={"reference": str(tmp_path / "adm.npz")}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"data": {"size": 128}}, r"data\[0\]: size: protocol 'imagenet-val-256' pins 256, got 128"),
        ({"data": {"resize": "short"}}, "resize: protocol 'imagenet-val-256' pins 'adm', got 'short'"),
        ({"data": {"crop": "random"}}, "crop: protocol 'imagenet-val-256' pins 'center', got 'random'"),
        ({"data": {"modality": "video"}}, "modality: protocol 'imagenet-val-256' pins 'image', got 'video'"),
        ({"reconstruction": {"samples": 1000}}, "reconstruction: samples: protocol .* pins 0, got 1000"),
        ({"features": ["encoder"]}, "features: protocol 'imagenet-val-256' needs inception among them"),
        ({"data": {"source": "procedural"}}, "is for recorded data"),
        ({"protocol": "imagenet-val-265"}, "imagenet-val-256"),
        ({"protocol": "none.toml"}, r"none\.toml: no such file of a preset"),
        ({"protocol": 3}, "protocol"),
    ],
)
def test_what_differs_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_suite(suite("imagenet-val-256", **options))


@pytest.mark.parametrize("tables", [{"data": 5}, {"data": ["x"]}, {"features": 3}, {"reconstruction": 4}, {"data": []}])
def test_what_is_no_suite_at_all_is_said_as_ever(tables: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(tables))):
        load_suite(suite("imagenet-val-256") | tables)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("size = 16", "description: missing"),
        (MINE.replace("count = 6", "count = 1"), "count must be at least 2"),
        (MINE.replace("size = 16", "path = 'x'"), "data.path is no field that a preset pins"),
        (MINE.replace("size = 16", "sise = 16"), "data.sise is no field"),
        (MINE.replace("size = 16", "size = 0"), "size must be at least 1"),
        (MINE.replace('"uint8"', '"none"'), "rounding is 'uint8' for pictures"),
        (MINE.replace('"uint8"', '"floor"'), "rounding"),
    ],
)
def test_a_users_own_is_checked(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=told):
        load_preset(str(tmp_path / "mine.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"bytes\.toml: can't be read"):
        load_preset(str(tmp_path / "bytes.toml"))


def test_its_digest_is_of_what_it_pins(mine: Path) -> None:
    first = load_preset(str(mine))
    assert first.name == "mine"
    mine.write_text(MINE.replace("16 pixels", "sixteen pixels"))
    assert load_preset(str(mine)).digest == first.digest
    mine.write_text(MINE.replace('"adm"', '"short"'))
    assert load_preset(str(mine)).digest != first.digest


def test_it_is_in_the_key_and_nothing_else_changes(mine: Path) -> None:
    with_it = load_suite(suite(mine, features=[]))
    without = dict(suite(mine, features=[]), reconstruction={"rate": False})
    without["data"] = {**without["data"], "size": 16, "resize": "adm", "val": 6}
    del without["protocol"]
    plain = load_suite(without)
    assert with_it.data == plain.data
    one, two = job(with_it), job(plain)
    assert one.id != two.id
    assert {key: value for key, value in one.config.items() if key != "preset"} == dict(two.config)
    assert one.depends == two.depends


@pytest.mark.slow
def test_too_few_files_are_refused_by_plan_with_the_counts(
    mine: Path, photos: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    few, enough = photos(4), photos(7)
    (tmp_path / "suite.toml").write_text(
        f'name = "x"\nprotocol = "{mine}"\nfeatures = []\ntasks = ["reconstruction"]\n'
        f'[data]\nsource = "folder"\npath = "{few}"\n[tokenizers]\nrecipe = "jpeg"\n'
    )
    assert cli.main(["plan", str(tmp_path / "suite.toml")]) == 2
    told = capsys.readouterr().err
    assert "data[0]: protocol 'mine' needs 6 validation samples, and photos4-image-16 has 3 (4 files: 4 used" in told
    assert cli.main(["plan", str(tmp_path / "suite.toml"), "--set", f"data.path={enough}"]) == 0
    assert "6 validation" in capsys.readouterr().out
    # As many files as samples: all for validation, where nothing is trained on them.
    exact = photos(6)
    assert cli.main(["plan", str(tmp_path / "suite.toml"), "--set", f"data.path={exact}"]) == 2
    assert "data.val = 1.0 takes all files" in capsys.readouterr().err
    whole = ["--set", f"data.path={exact}", "--set", "data.val=1.0"]
    assert cli.main(["plan", str(tmp_path / "suite.toml"), *whole]) == 0
    assert cli.main(["plan", str(tmp_path / "suite.toml"), *whole, "--set", "tokenizers.recipe=kl-vae"]) == 2
    assert "leaves photos6-image-16 nothing to train" in capsys.readouterr().err


def test_more_than_it_pins_is_refused_too(mine: Path) -> None:
    checked = load_suite(suite(mine, features=[], data={"val": 9}))
    with pytest.raises(UserError, match="needs 6 validation samples, and photos has 9"):
        check_counts(checked, {"photos": DataCounts(train=3, val=9)})


@pytest.mark.slow
def test_a_run_under_a_preset_says_so(
    mine: Path, photos: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from latentbench.bench.runner import run_suite

    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    table = suite(mine, features=[], data={"path": str(photos(6)), "val": 1.0})
    outcome = run_suite(table, out=tmp_path / "run", devices="cpu", engine="inline")
    assert not outcome.failed
    (row,) = rows([outcome.root])
    digest = load_preset(str(mine)).digest
    assert row["preset"] == "mine"
    assert row.metrics["psnr"].n == 6
    assert row.metrics["psnr"].protocol.endswith(f"validation split; protocol mine ({digest})")
    assert "Made under the protocol mine." in leaderboard([outcome.root], format="md")


def test_applied_leaves_the_suite_as_it_was(mine: Path) -> None:
    preset = load_preset(str(mine))
    assert isinstance(preset, Preset)
    raw = {"data": [{"source": "folder"}], "name": "x"}
    filled = applied(raw, preset, "suite")
    assert raw == {"data": [{"source": "folder"}], "name": "x"}
    assert filled["data"] == [{"size": 16, "resize": "adm", "source": "folder", "val": 6}]
    assert filled["features"] == []
