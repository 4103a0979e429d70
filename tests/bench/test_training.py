"""The one training loop: budgets, schedule, average, divergence, and continuation to the same bits."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from latentbench.bench.checkpoint import read_checkpoint, write_checkpoint
from latentbench.bench.training import DivergedError, InterruptedTrainingError, _Loop, train
from latentbench.bench.worker_protocol import CHECKPOINT
from latentbench.results.errors import UserError
from latentbench.tasks.interface import FitReport
from latentbench.tokenizers.interface import Trainable
from latentbench.tokenizers.memory_format import format_of, resolved
from latentbench.tokenizers.seeding import derive_seed
from latentbench.tokenizers.training import TrainingConfig

CPU = torch.device("cpu")


class Numbers:
    """Samples `[B, 4]` that tell their index, which it notes."""

    def __init__(self, n: int = 20) -> None:
        self.n, self.seen = n, list[np.ndarray]()
        self.values = torch.randn(n, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        self.seen.append(indices)
        return self.values[torch.from_numpy(indices)]


class Net(Trainable):
    """An MLP with dropout, a buffer, and initialisation from the data; predicts its noisy input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 4))
        self.mean = nn.Buffer(torch.zeros(4))
        self.steps_seen = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def on_train_start(self, batches: Iterable[Tensor]) -> None:
        self.mean.copy_(torch.cat(list(batches)).mean(0))

    def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        error = self.layers(batch + 0.1 * torch.randn_like(batch)) - batch + self.mean
        return {"loss": error.square().mean(), "largest": error.detach().abs().max()}

    @torch.no_grad()
    def after_step(self, *, step: int, steps: int) -> None:
        self.steps_seen += 1


def fit(
    model: Trainable,
    folder: Path,
    source: Any = None,
    *,
    seed: int = 3,
    more: Mapping[str, Any] | None = None,
    **config: Any,
) -> FitReport:
    options = {"steps": 100, "batch_size": 6, "lr": 1e-2, "ema": 0.9} | config
    return train(
        model,
        Numbers() if source is None else source,
        TrainingConfig(**options),
        seed=seed,
        folder=folder,
        device=CPU,
        **(more or {}),
    )


def stop_after(polls: int) -> Callable[[], bool]:
    """True from the `polls`-th poll on; the loop polls once a step."""
    left = iter(range(polls - 1))
    return lambda: next(left, None) is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, FitReport]:
    """A model that was trained without interruption."""
    model = Net()
    return model, fit(model, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def stopped(tmp_path: Path, _stopped: Path) -> Path:
    """The folder of a training that was stopped half-way."""
    shutil.copytree(_stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def _stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(InterruptedTrainingError):
        fit(Net(), folder, more={"stop": stop_after(50)})
    return folder


def begin(folder: Path) -> tuple[int, dict[str, Tensor]]:
    """The step and the tensors of the checkpoint that ten steps leave."""
    with pytest.raises(InterruptedTrainingError):
        fit(Net(), folder, more={"stop": stop_after(10)})
    tensors, facts = read_checkpoint(folder / CHECKPOINT)
    return facts["step"], tensors


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Tensor]]:
    """What a new training has come to after ten steps."""
    return begin(tmp_path_factory.mktemp("begun"))


def check_it_began_anew(folder: Path, begun: tuple[int, dict[str, Tensor]]) -> None:
    step, tensors = begin(folder)
    assert step == begun[0] < 50
    assert tensors.keys() == begun[1].keys()
    assert all(torch.equal(value, begun[1][name]) for name, value in tensors.items())


@pytest.mark.parametrize("stops", [[1], [2], [37], [99], [100], [5, 1, 60]])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    whole: tuple[Net, FitReport], tmp_path: Path, stops: list[int]
) -> None:
    for polls in stops:
        torch.manual_seed(17 + polls)  # nothing outside may matter
        with pytest.raises(InterruptedTrainingError, match="stopped at step"):
            fit(Net(), tmp_path, more={"stop": stop_after(polls)})
    model = Net()
    with torch.no_grad():
        model.layers[0].weight.zero_()  # a fresh model's values don't matter either: the checkpoint has them
    report = fit(model, tmp_path)
    reference, undisturbed = whole
    for name, value in reference.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert report.curve == undisturbed.curve
    assert (report.losses, report.flops, report.steps) == (undisturbed.losses, undisturbed.flops, undisturbed.steps)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [{k: v for k, v in row.items() if k != "samples_per_second"} for row in rows] == list(report.curve)


def test_a_training_that_is_stopped_early_goes_on_elsewhere_to_the_same_bits(
    whole: tuple[Net, FitReport], tmp_path: Path
) -> None:
    early = []
    for share in ("1/9", "1/3"):
        folder = tmp_path / share.replace("/", "_")
        folder.mkdir()
        if early:
            shutil.copyfile(tmp_path / "1_9" / CHECKPOINT, folder / CHECKPOINT)
        early.append(fit(Net(), folder, more={"until": Fraction(share)}))
    assert [(report.steps, report.samples) for report in early] == [(12, 72), (34, 204)]
    assert early[1].flops == pytest.approx(0.34 * whole[1].flops)
    shutil.copyfile(tmp_path / "1_3" / CHECKPOINT, tmp_path / CHECKPOINT)
    model = Net()
    report = fit(model, tmp_path)
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert report.curve == whole[1].curve
    for part in early:
        assert part.curve == whole[1].curve[: len(part.curve)], "the schedule is that of the whole training"


def test_what_is_stopped_early_has_its_averaged_weights(tmp_path: Path) -> None:
    model, last = Net(), Net()
    fit(model, tmp_path, more={"until": Fraction(1, 4)})
    tensors, facts = read_checkpoint(tmp_path / CHECKPOINT)
    assert (facts["step"], facts["steps"]) == (25, 100)
    averages = [tensors[f"average.{i}"] for i, _ in enumerate(last.parameters())]
    for parameter, average in zip(model.parameters(), averages, strict=True):
        assert torch.equal(parameter, average)
    assert not model.training


def test_a_checkpoint_every_so_often_changes_nothing(whole: tuple[Net, FitReport], tmp_path: Path) -> None:
    model = Net()
    assert fit(model, tmp_path, more={"checkpoint_seconds": 0.0}).curve == whole[1].curve
    again = Net()
    fit(again, tmp_path)  # from the last checkpoint, one step before the end
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
        assert torch.equal(value, again.state_dict()[name])


class Conv(Trainable):
    """A convolution with channels last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)

    def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        return {"loss": self.conv(batch.view(-1, 4, 1, 1).expand(-1, 4, 5, 5)).square().mean()}


@pytest.mark.parametrize(
    ("asked", "layout"), [("auto", "channels_last"), ("channels_last", "channels_last"), ("contiguous", "contiguous")]
)
def test_convolutions_have_the_layout_that_was_asked_for(tmp_path: Path, asked: str, layout: str) -> None:
    whole, parts = Conv(), Conv()
    (tmp_path / "a").mkdir()
    report = fit(whole, tmp_path / "a", steps=10, memory_format=asked)
    assert report.memory_format == format_of(whole) == layout
    with pytest.raises(InterruptedTrainingError):
        fit(Conv(), tmp_path, steps=10, memory_format=asked, more={"stop": stop_after(4)})
    assert fit(parts, tmp_path, steps=10, memory_format=asked).memory_format == layout
    assert torch.equal(whole.conv.weight, parts.conv.weight)
    usual = Conv()
    (tmp_path / "b").mkdir()
    fit(usual, tmp_path / "b", steps=10)
    torch.testing.assert_close(whole.conv.weight, usual.conv.weight)


def test_a_gpus_layout_follows_the_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def as_on_a_gpu(chosen: str, device: torch.device, *, bfloat16: bool) -> str:
        asked.append(bfloat16)
        return resolved("auto", torch.device("cuda:0"), bfloat16=bfloat16) or ""

    monkeypatch.setattr("latentbench.bench.training.memory_format.resolved", as_on_a_gpu)
    assert fit(Conv(), tmp_path, steps=2, precision="float32").memory_format == "contiguous"
    (tmp_path / "b").mkdir()
    assert fit(Conv(), tmp_path / "b", steps=2, precision="bfloat16").memory_format == "channels_last"
    assert (asked[0], asked[-1]) == (False, True)


def test_channels_last_weights_keep_their_layout(tmp_path: Path) -> None:
    whole, parts = Conv(), Conv()
    (tmp_path / "a").mkdir()
    fit(whole, tmp_path / "a", steps=10)
    with pytest.raises(InterruptedTrainingError):
        fit(Conv(), tmp_path, steps=10, more={"stop": stop_after(4)})
    fit(parts, tmp_path, steps=10)
    assert parts.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(whole.conv.weight, parts.conv.weight)


def test_seeds_make_the_difference(whole: tuple[Net, FitReport], tmp_path: Path) -> None:
    model = Net()
    fit(model, tmp_path, seed=4)
    assert not torch.equal(model.layers[0].weight, whole[0].layers[0].weight)


def test_a_checkpoint_needs_no_pickle(tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError):
        fit(Net(), tmp_path, more={"stop": stop_after(7)})
    with safe_open(tmp_path / CHECKPOINT, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        names = set(file.keys())
        torch.testing.assert_close(file.get_tensor("model.mean"), Numbers().values.mean(0))
    assert (state["step"], state["steps"]) == (7, 100)
    assert {"model.layers.0.weight", "average.0", "optimiser.model.0.exp_avg", "sum.loss"} <= names


def _bit(content: bytes, place: float) -> bytes:
    i = int(len(content) * place)
    return content[:i] + bytes([content[i] ^ 16]) + content[i + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: b"no checkpoint", lambda content: content[:-9]]
    + [lambda content, place=place: _bit(content, place) for place in (0, 0.05, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999)],
)
def test_a_damaged_checkpoint_counts_as_none(
    begun: tuple[int, dict[str, Tensor]],
    stopped: Path,
    damage: Callable[[bytes], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = stopped / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    check_it_began_anew(stopped, begun)
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: not a checkpoint of this training (")
    assert said.count("\n") == 1


def test_a_training_that_begins_anew_ends_as_any(whole: tuple[Net, FitReport], stopped: Path) -> None:
    (stopped / CHECKPOINT).write_bytes(b"")
    model = Net()
    assert fit(model, stopped).curve == whole[1].curve
    assert torch.equal(model.layers[0].weight, whole[0].layers[0].weight)


def _renamed(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    tensors["model.renamed"] = tensors.pop("model.mean")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_renamed, "model.mean is missing"),
        (lambda t, f: t.update({"model.new": torch.zeros(2)}), "model.new is unknown to this version"),
        (lambda t, f: t.update({"model.mean": torch.zeros(5)}), r"model.mean is float32 \[5\] and not float32 \[4\]"),
        (lambda t, f: t.update({"model.mean": t["model.mean"].double()}), "model.mean is float64"),
        (lambda t, f: t.pop("average.0"), "average.0 is missing"),
        (lambda t, f: t.pop("optimiser.model.1.exp_avg"), "optimiser.model.1.exp_avg is missing"),
        (lambda t, f: [t.pop(n) for n in list(t) if n.startswith("optimiser")], "optimiser's state is missing"),
        (lambda t, f: f.update(step=10**6), "step 1000000 of 100 where 100 steps are planned"),
        (lambda t, f: f.update(step=-5), "step -5 of 100"),
        (lambda t, f: f.update(step="50"), "step: input should be a valid integer, got '50'"),
        (lambda t, f: f.update(steps=50), "of 50 where 100 steps are planned"),
        (lambda t, f: f.update(rows=None), "rows: input should be a valid array"),
        (lambda t, f: f.update(rows=[{"loss": "x"}]), r"rows\[0\].loss: "),
        (lambda t, f: f.update(colour=1), "colour: unknown key"),
        (lambda t, f: f.update(seed=4), "its seed is 4 and not 3"),
        (lambda t, f: f.pop("seed"), "its seed is None"),
    ],
)
def test_a_checkpoint_that_does_not_fit_counts_as_none(
    begun: tuple[int, dict[str, Tensor]], stopped: Path, change: Callable[..., Any], reason: str, capsys: Any
) -> None:
    tensors, facts = read_checkpoint(stopped / CHECKPOINT)
    change(tensors, facts)
    write_checkpoint(stopped / CHECKPOINT, tensors, facts)  # with the digest of what it holds
    check_it_began_anew(stopped, begun)
    assert re.search(rf"not a checkpoint of this training \(.*{reason}.*\); it starts anew\n$", capsys.readouterr().out)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n", b"[" * 100_000, b"null\n", b'{"step": [], "samples_per_second": 1.0}\n']
)
def test_nothing_in_the_log_can_fail_a_training(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InterruptedTrainingError):
        fit(Net(), tmp_path, more={"stop": stop_after(60)})
    with (tmp_path / "curve.jsonl").open("ab") as file:
        file.write(content)
    report = fit(Net(), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [row["step"] for row in report.curve]


def test_a_torn_curve_is_mended(tmp_path: Path) -> None:
    with pytest.raises(InterruptedTrainingError):
        fit(Net(), tmp_path, more={"stop": stop_after(60)})
    path = tmp_path / "curve.jsonl"
    path.write_text(path.read_text()[:200])  # what a crash of the machine may leave
    report = fit(Net(), tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [row["step"] for row in report.curve] == list(range(2, 101, 2))


def test_every_epoch_covers_the_data_once(tmp_path: Path) -> None:
    source = Numbers(20)
    fit(Net(), tmp_path, source, steps=30, batch_size=6)
    passes, counting, steps = source.seen[:4], source.seen[4], source.seen[5:]
    assert sorted(np.concatenate(passes).tolist()) == list(range(20))  # `on_train_start` sees each sample once
    assert counting.tolist() == steps[0].tolist()  # the FLOPs are counted on the first batch
    assert [len(batch) for batch in steps] == [6] * 30
    drawn = np.concatenate(steps)
    epochs = [drawn[start : start + 20].tolist() for start in range(0, 180, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 9  # each in an order of its own


def test_a_batch_may_be_larger_than_the_data(tmp_path: Path) -> None:
    source = Numbers(4)
    fit(Net(), tmp_path, source, steps=2, batch_size=10)
    drawn = np.concatenate(source.seen[-2:])
    assert np.bincount(drawn).tolist() == [5, 5, 5, 5]


class Scalar(Trainable):
    """One parameter with a gradient that the test sets; notes what it was before each step."""

    def __init__(self, gradient: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.gradient, self.values = gradient, list[float]()

    def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        self.values.append(self.weight.item())
        return {"loss": (self.weight * self.gradient).sum()}


def test_learning_rate_is_linear_warm_up_then_cosine(tmp_path: Path) -> None:
    report = fit(Scalar(), tmp_path, steps=40, lr=0.1, warmup=0.25, final_lr=0.2, ema=0.0)
    rates = [row["lr"] for row in report.curve]
    expected = [0.1 * (t + 1) / 10 for t in range(10)]
    expected += [0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi * (t - 10) / 30)) / 2) for t in range(10, 40)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_adamw_moves_by_the_learning_rate(tmp_path: Path) -> None:
    # With a constant gradient both moments are exact, so that every step is lr itself (Kingma & Ba 2015, sec. 2.1).
    model = Scalar()
    report = fit(model, tmp_path, steps=40, lr=0.1, warmup=0.25, ema=0.0, weight_decay=0.0)
    moved = -np.diff([*model.values, model.weight.item()])
    assert moved == pytest.approx([row["lr"] for row in report.curve], rel=1e-4)


def test_the_average_is_the_recursion_s(tmp_path: Path) -> None:
    model = Scalar()
    fit(model, tmp_path, steps=40, ema=0.8)
    folder = tmp_path / "raw"
    folder.mkdir()
    raw = Scalar()
    fit(raw, folder, steps=40, ema=0.0)
    average = 0.0
    for t, value in enumerate([*raw.values[1:], raw.weight.item()]):
        decay = min(0.8, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * value
    assert model.weight.item() == pytest.approx(average, rel=1e-5)
    assert model.weight.item() != pytest.approx(raw.weight.item(), rel=1e-3)
    assert not model.training


@pytest.mark.parametrize(("clip", "expected"), [(1.0, 1.0), (0.0, None), (1e6, 50.0)])
def test_gradients_are_clipped_to_the_norm(tmp_path: Path, clip: float, expected: float | None) -> None:
    seen: list[float] = []

    class Steep(Scalar):
        def after_step(self, *, step: int, steps: int) -> None:
            assert self.weight.grad is not None
            seen.append(self.weight.grad.item())

    report = fit(Steep(50.0), tmp_path, steps=3, clip=clip)
    assert seen == pytest.approx([expected or 50.0] * 3, rel=1e-5)
    norms = [row.get("grad_norm") for row in report.curve]
    assert norms == ([None] * 3 if not clip else [50.0] * 3)  # the norm before clipping is what is logged


@pytest.mark.parametrize(
    ("loss_at_step_five", "message"),
    [
        (math.nan, r"loss is not finite at step 6 of 20 \(lr 0.01\); a smaller lr may help"),
        (math.inf, r"loss is not finite at step 6 of 20"),
        (1e9, r"loss went from 1 to 1e\+09 at step 6 of 20"),
    ],
)
def test_divergence_is_found_and_told(tmp_path: Path, loss_at_step_five: float, message: str) -> None:
    class Diverging(Scalar):
        def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
            return {"loss": self.weight.sum() * 0 + (loss_at_step_five if step == 5 else 1.0)}

    for _ in range(2):  # and again when it is tried again
        with pytest.raises(DivergedError, match=message):
            fit(Diverging(), tmp_path, steps=20)


def test_a_negative_loss_that_falls_is_no_divergence(tmp_path: Path) -> None:
    class Falling(Scalar):
        def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
            return {"loss": self.weight.sum() * 0 - 1e6 * step}

    assert fit(Falling(), tmp_path, steps=20).losses["loss"] == -1e6 * 19


class MLP(Trainable):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

    def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        return {"loss": self.layers(batch).square().mean()}


def test_flops_equal_the_closed_form(tmp_path: Path) -> None:
    # forward 2BIO a layer, the same for the weights' gradients, and for the inputs' where they are needed
    forward = 2 * 6 * (4 * 16 + 16 * 3)
    step = 2 * forward + 2 * 6 * 16 * 3
    report = fit(MLP(), tmp_path, steps=10)
    assert report.flops == 10 * step
    assert (report.steps, report.samples) == (10, 60)


def test_a_flop_budget_buys_whole_steps(tmp_path: Path) -> None:
    step = 2 * 2 * 6 * (4 * 16 + 16 * 3) + 2 * 6 * 16 * 3
    assert fit(MLP(), tmp_path, flops=7.9 * step).steps == 7
    folder = tmp_path / "small"
    folder.mkdir()
    assert fit(MLP(), folder, flops=1.0).steps == 1


class Duel(Trainable):
    """Two parameter groups; the second one sees what the first one's step has done."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.order: list[tuple[int, str, float]] = []

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"generator": [self.generator], "critic": [self.critic]}

    def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
        self.order.append((step, group, self.generator.item()))
        if group == "generator":
            return {"loss": (self.generator - 1).square().sum(), "fooled": self.critic.detach().sum()}
        return {"loss": (self.critic - self.generator.detach()).square().sum()}


def test_players_take_turns_within_a_step(tmp_path: Path) -> None:
    whole = Duel()
    report = fit(whole, tmp_path, steps=6, lr=0.1)
    turns = whole.order
    assert [(step, group) for step, group, _ in turns] == [(t, p) for t in range(6) for p in ("generator", "critic")]
    assert turns[1][2] != turns[0][2]
    assert turns[2][2] == turns[1][2]  # the critic's step leaves the generator alone
    assert {"loss", "fooled", "critic_loss", "grad_norm", "critic_grad_norm"} <= report.losses.keys()
    parts, folder = Duel(), tmp_path / "parts"
    folder.mkdir()
    with pytest.raises(InterruptedTrainingError):
        fit(Duel(), folder, steps=6, lr=0.1, more={"stop": stop_after(3)})
    fit(parts, folder, steps=6, lr=0.1)
    assert torch.equal(whole.critic, parts.critic)
    assert torch.equal(whole.generator, parts.generator)


@pytest.mark.parametrize("trainable", [True, False])
def test_no_steps_run_the_closed_form_alone(tmp_path: Path, trainable: bool) -> None:
    model = Net().requires_grad_(trainable)
    before = model.layers[0].weight.clone()
    report = fit(model, tmp_path, steps=0 if trainable else 100)
    torch.testing.assert_close(model.mean, Numbers().values.mean(0))
    assert torch.equal(model.layers[0].weight, before)
    assert (report.steps, report.flops, report.curve) == (0, 0.0, ())
    assert not model.training
    assert not (tmp_path / CHECKPOINT).exists()


def test_bfloat16_on_request(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    class Typed(MLP):
        def losses(self, batch: Tensor, *, group: str, step: int, steps: int) -> Mapping[str, Tensor]:
            out = self.layers(batch)
            seen.append(out.dtype)
            return {"loss": out.float().square().mean()}

    fit(Typed(), tmp_path, steps=1, precision="bfloat16")
    (tmp_path / CHECKPOINT).unlink()
    fit(Typed(), tmp_path, steps=1)
    assert seen == [torch.bfloat16] * 2 + [torch.float32] * 2


def test_no_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        fit(Net(), tmp_path, Numbers(0))


def test_a_folder_that_can_t_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match=r"cannot write .*checkpoint.safetensors: "):
        fit(Net(), blocked / "job")


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    fit(Net(), tmp_path, more={"progress": lambda done, total, message: told.append((done, total, message))})
    assert [done for done, _, _ in told] == list(range(2, 101, 2))
    assert all(total == 100 and message.startswith("loss ") for _, total, message in told)


def test_what_starts_on_the_first_samples_sees_a_sample_of_the_set(tmp_path: Path) -> None:
    """Of a set that lies class by class: the same shuffled order in each pass, and in a training of another seed."""

    class Listening(Net):
        def on_train_start(self, batches: Iterable[Tensor]) -> None:
            super().on_train_start(batches)
            super().on_train_start(batches)

    orders = []
    for seed in (0, 1):
        source = Numbers(100)
        fit(Listening(), tmp_path / str(seed), source, seed=seed, steps=1, batch_size=10)
        orders += [np.concatenate(source.seen[:10]), np.concatenate(source.seen[10:20])]
    assert all(np.array_equal(order, orders[0]) for order in orders)
    assert sorted(orders[0].tolist()) == list(range(100))
    assert len({index // 20 for index in orders[0][:20].tolist()}) >= 4


@pytest.mark.parametrize(
    ("precision", "device", "flops", "real", "expected"),
    [
        ("auto", "cuda", 1e12, True, True),
        ("auto", "cuda", 1e12, False, False),  # a GPU that emulates it
        ("auto", "cuda", 1e10, True, False),  # a step that the casts would make slower
        ("auto", "cpu", 1e12, True, False),
        ("bfloat16", "cuda", 1e10, False, True),
        ("float32", "cuda", 1e12, True, False),
    ],
)
def test_bfloat16_where_it_is_real_and_pays(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: str, flops: float, real: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or real)
    monkeypatch.setattr(torch, "autocast", lambda device, dtype, enabled: enabled)
    config = TrainingConfig(precision=precision, batch_size=8, micro_batch=4)
    loop = _Loop(Net(), Numbers(), config, seed=0, device=torch.device(device))
    loop.state.flops_per_step = 2 * flops
    loop.choose_precision()
    assert loop.autocast is expected


def test_a_cpu_s_draws_are_those_of_torch_s_seed() -> None:
    loop = _Loop(Net(), Numbers(), TrainingConfig(), seed=2**40, device=CPU)
    loop._draw_from("step", 7)
    drawn = torch.rand(5)
    torch.manual_seed(derive_seed(2**40, "step", 7))
    assert torch.equal(drawn, torch.rand(5))
