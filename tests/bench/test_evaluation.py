"""Any tokenizer as a row: from Python and from the command line, several on one board, resumed, moved, changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from latentbench.bench import cli, evaluate
from latentbench.bench.evaluation import EvalRequest, eval_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.store import Store

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "adapters.md"
DATA = {"size": 16, "samples": 16, "val": 8}
QUICK = {"encoder": {"width": 8, "training": {"steps": 1, "batch_size": 4}}}
MODELS = """
import torch
from torch import nn

class Mine(nn.Module):
    spec = {"modality": "image", "multiple": 4}

    def __init__(self, width=4):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, width, 4, 4), nn.ConvTranspose2d(width, 3, 4, 4)

    def encode(self, x):
        return self.down(x)

    def decode(self, z):
        return self.up(z)
"""


class Live(nn.Module):
    """What a notebook has."""

    spec: ClassVar[dict[str, str]] = {"modality": "image"}

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def encode(self, x: Tensor) -> Tensor:
        return self.mix(x)

    def decode(self, z: Tensor) -> Tensor:
        return z


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A user's file of models."""
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def run(tokenizer: Any, **options: Any) -> Any:
    """Evaluate by reconstruction alone, in this process."""
    given = {"data": DATA, "tasks": ["reconstruction"], "changes": QUICK, "out": "out", "engine": "inline"}
    return evaluate(tokenizer, **given | options)


def executed(out: str = "out") -> set[str]:
    """The ids of the jobs that have a record."""
    return {f"{record.kind}/{record.key}" for record in Store(Path(out)).iterate()}


@pytest.mark.slow
def test_several_evaluations_into_one_folder_are_a_board(models: Path) -> None:
    frame = run(f"python:{models}:Mine")
    assert frame[["label", "recipe", "tsr", "status"]].values.tolist() == [["Mine", "python", 12.0, "finished"]]
    assert frame["parameters"].item() == 2 * 192 + 7
    assert frame["contract"].item() == 0
    live = Live()
    live.train()
    before = torch.get_rng_state()
    assert run(live)["label"].tolist() == ["Live"]
    assert live.training  # the caller's module and generator are left as they were
    assert torch.equal(torch.get_rng_state(), before)
    run(f"python:{models}:Mine", sets=["tokenizer.options.width=8"])
    text = leaderboard(["out"], format="md")
    names = ("Mine (python)", "Live (live)", "Mine options.width=8 (python)")
    assert [name for name in names if name not in text] == []
    assert text.count("## eval") == 1


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_a_moved_folder_changes_nothing(models: Path, tmp_path: Path) -> None:
    run(f"python:{models}:Mine")
    first = executed()
    times = {path: path.stat().st_mtime_ns for path in Path("out").rglob("record.json")}
    (tmp_path / "moved").mkdir()
    shutil.move(models, tmp_path / "moved" / "models.py")
    run("python:moved/models.py:Mine")
    assert executed() == first
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("record.json")} == times
    (tmp_path / "moved" / "models.py").write_text(MODELS.replace("self.up(z)", "self.up(2 * z)"))
    run("python:moved/models.py:Mine")
    new = executed() - first
    assert {name.split("/")[0] for name in new} == {"tokenizer", "contract", "reconstruction"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "bfloat16"},
        {"posterior": "mode"},
        {"normaliser": "none"},
        {"spec": {"modality": "image", "range": [0, 1]}},
    ],
)
def test_every_setting_that_changes_numbers_is_in_the_key(models: Path, options: dict[str, Any]) -> None:
    from latentbench.bench.plan import make_plan

    def key(**own: Any) -> str:
        entry = {"adapter": "python", "path": f"{models}:Mine", **own}
        suite = load_suite({"name": "s", "data": DATA, "tokenizers": [entry], "tasks": []})
        (job,) = (job for job in make_plan(suite, {}).jobs.values() if job.kind == "tokenizer")
        return job.key

    assert key(**options) != key()
    assert key(trust_pickle=True, label="other") == key()


def test_a_contract_that_fails_stops_what_reads_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(MODELS.replace("self.up(z)", "self.up(z) / 0"))
    frame = run("python:bad.py:Mine")
    assert frame["status"].item() == "failed: contract: UserError: real signals give NaN or infinity"
    assert "psnr" not in frame or frame["psnr"].isna().all()


@pytest.mark.slow
def test_a_mark_stands_in_the_notes(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(MODELS.replace("self.up(z)", "self.up(z) + 0.1 * torch.randn(1)"))
    assert run("python:noisy.py:Mine")["contract"].item() > 0
    text = leaderboard(["out"], format="md")
    assert "- Contract of #1 Mine (python): two decodes differ by" in text


@pytest.mark.slow
def test_adapters_and_recipes_stand_in_one_suite_with_a_grid_and_priors(models: Path, tmp_path: Path) -> None:
    from latentbench.bench.plan import make_plan

    entry = {"adapter": "python", "path": str(models) + ":Mine", "grid": {"options.width": [4, 8]}, "prior": "unet"}
    clip = {"name": "clips", "modality": "video", "size": 16}
    suite = {
        "name": "s",
        "data": [DATA, clip],
        "tokenizers": [entry, {"recipe": "pca", "channels": 4}],
        "seeds": [0, 1],
    }
    plan = make_plan(load_suite(suite), {})
    own = [planned for planned in plan.cells if planned.cell.recipe == "python"]
    assert [planned.cell.tokenizer.spec.grid.channels for planned in own] == [4, 4, 8, 8]  # and none for clips
    assert {planned.prior.kind for planned in own if planned.prior is not None} == {"unet"}
    assert len({planned.jobs["tokenizer"] for planned in own}) == 2  # seeds share a tokenizer that is not trained
    assert all("contract" in planned.jobs for planned in own)
    assert not any("contract" in planned.jobs for planned in plan.cells if planned not in own)
    assert all("contract" in plan.jobs[planned.jobs["latents"]].depends for planned in own)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"tokenizer": "difusers:models/vae"}, "unknown adapter or recipe 'difusers'; did you mean"),
        ({"tokenizer": "python:models.py:Mine", "data": "photoss"}, "--data photoss: no such folder, and no source"),
        ({"tokenizer": "python:models.py:Mine", "modality": "video"}, "--modality video: it is for image"),
        ({"tokenizer": "models.py"}, "by which door? write ADAPTER:PATH"),
        (
            {"tokenizer": "python:models.py:Mine", "sets": ["tokenizer.dtpe=float16"]},
            "unknown key; did you mean 'dtype'",
        ),
        ({"tokenizer": "python:models.py:Mine", "spec": "no.toml"}, "no such file: no.toml"),
        ({"tokenizer": "live:x"}, "is for latentbench.bench.evaluate"),
    ],
)
def test_what_can_be_mended_is_said(models: Path, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        eval_suite(EvalRequest(**request_))
    assert message in str(error.value)


def test_a_size_that_does_not_fit_is_refused_before_anything_runs(models: Path) -> None:
    with pytest.raises(UserError, match=r"height 18 is no multiple of 4; nearest: 16 or 20"):
        run(f"python:{models}:Mine", data={**DATA, "size": 18})
    assert not Path("out").exists()


def test_data_take_the_geometry_that_is_declared(models: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('modality = "waveform"\nrate = 24000.0\nchannels = 2\n')
    data = eval_suite(EvalRequest(tokenizer="python:models.py:Mine", spec="my.toml", seconds=0.5))["data"]
    expected = {"modality": "waveform", "source": "procedural", "channels": 2, "sample_rate": 24000, "seconds": 0.5}
    assert data == expected
    (tmp_path / "my.toml").write_text('modality = "video"\nframes = "4k+1"\nmultiple = 24\n')
    assert eval_suite(EvalRequest(tokenizer="python:models.py:Mine", spec="my.toml"))["data"] == {
        "modality": "video",
        "source": "procedural",
        "size": 240,
        "frames": 17,
    }


@pytest.mark.slow
def test_the_command_checks_alone(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "python:models.py:Mine", "--size", "16", "--engine", "inline"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Mine:"
    assert "  passed  two encodes, real" in out
    assert out[-2].split()[0] == "contract_latent_mean"
    models.write_text(MODELS.replace("self.up(z)", "self.up(z)[:, :2]"))
    assert cli.main(command) == 2
    assert "Mine decodes to (2, 16, 16), expected (3, 16, 16)" in capsys.readouterr().err


def test_a_size_may_be_height_and_width(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["check", "python:models.py:Mine", "--engine", "inline", "--size"]
    assert cli.main([*command, "16x24"]) == 0
    assert "  passed  size, real" in capsys.readouterr().out.splitlines()
    assert cli.main([*command, "16x22"]) == 2
    assert "width 22 is no multiple of 4; nearest: 20 or 24" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        cli.main([*command, "16y24"])
    assert error.value.code == 2
    assert "argument --size: invalid sides value: '16y24'" in capsys.readouterr().err


def _code(page: Path, name: str) -> str:
    (code,) = re.findall(rf"```python\n(# {name}\n.*?)```", page.read_text(), re.DOTALL)
    return str(code)


@pytest.mark.slow
def test_the_page_s_class_is_a_tokenizer_in_under_40_lines(tmp_path: Path) -> None:
    code = _code(PAGE, "my_models.py")
    assert len(code.splitlines()) < 40
    (tmp_path / "my_models.py").write_text(code)
    frame = run("python:my_models.py:MyVAE")
    assert frame[["tsr", "contract", "status"]].values.tolist() == [[16 * 16 * 3 / (4 * 4), 1.0, "finished"]]
    assert "latents normalised by the user's spec have mean" in leaderboard(["out"], format="md")  # it is not trained


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_one_board_of_trained_and_pretrained_tokenizers_a_codec_and_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop of README.md and adapters.md, with a tiny folder, few steps and small pictures."""
    import diffusers

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    tiny = diffusers.AutoencoderKL(block_out_channels=(4, 8), norm_num_groups=2, latent_channels=4, **blocks)
    tiny.save_pretrained(tmp_path / "models" / "sd-vae")
    halves = {f"{half}_block_out_channels": (8, 8) for half in ("encoder", "decoder")}
    halves |= {f"num_{half}_blocks": (1, 1) for half in ("encoder", "decoder")}
    diffusers.AutoencoderTiny(**halves).save_pretrained(tmp_path / "models" / "taesd")
    (tmp_path / "my_models.py").write_text(_code(PAGE, "my_models.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    loop = r"```python\n(from latentbench.bench import evaluate\n.*?)```"
    loops = [re.findall(loop, page.read_text(), re.DOTALL) for page in (README, PAGE)]
    assert loops[0] == loops[1]
    training = {"steps": 1, "batch_size": 4}
    small = {"width": 8, "layers": 1, "attention_heads": 1}
    changes = QUICK | {"training": training, "generation": {"samples": 8}, "reconstruction": {"rate": False}}
    changes["modelability"] = {"proxies": ["viv", "codes"]}
    changes["prior"] = {"training": training, "flow": small | {"steps": 1}, "ar": small}

    def quick(tokenizer: Any, *, data: str, size: int, out: str) -> None:
        more = {"sets": ["tokenizer.codec.max_bytes=400"]} if tokenizer == "jpeg" else {}
        frame = evaluate(tokenizer, data=DATA, out=out, engine="inline", changes=changes, **more)
        assert frame["status"].tolist() == ["finished"], frame["status"].tolist()

    monkeypatch.setattr("latentbench.bench.evaluation.evaluate", quick)
    exec(compile(loops[0][0], "README.md", "exec", dont_inherit=True), {})
    text = leaderboard(["runs/board"], format="md")
    assert text.count("## eval") == 1
    names = ("kl-vae", "vq-vae", "jpeg", "sd-vae (diffusers)", "taesd (diffusers)", "MyVAE (live)")
    assert [name for name in names if name not in text] == []


@pytest.mark.slow
def test_the_command_line_imports_no_torch_and_ends_what_it_starts(
    latentbench: Any, models: Path, tmp_path: Path, in_subprocess: Callable[[str], str]
) -> None:
    sets = [
        "data.samples=16",
        "data.val=8",
        'features=["scattering"]',
        'tasks=["reconstruction"]',  # priors: the board above
    ]
    arguments = [part for change in sets for part in ("--set", change)]
    done = latentbench("eval", "python:models.py:Mine", "--size", "16", *arguments, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Mine (python)" in done.stdout
    assert "rfd_scattering" in done.stdout
    code = (
        "import sys; from latentbench.bench.evaluation import EvalRequest, eval_suite; "
        f"eval_suite(EvalRequest(tokenizer='python:{models}:Mine')); print('torch' in sys.modules)"
    )
    assert in_subprocess(code).strip() == "False"
