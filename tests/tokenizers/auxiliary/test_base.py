"""What auxiliary objectives can do to the tokenizer that trains with them, through one that does all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from latentbench.bench.training import train
from latentbench.results.errors import UserError
from latentbench.tasks.memory_mapped import MemoryMapped
from latentbench.tokenizers.auxiliary.base import LossTerms, TrainingStep
from latentbench.tokenizers.auxiliary.config import TokenizerParts
from latentbench.tokenizers.build import build
from latentbench.tokenizers.composed import ComposedTokenizer
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.regularisers.base import Regulariser
from latentbench.tokenizers.regularisers.config import REGULARISERS, RegulariserConfig
from latentbench.tokenizers.spec import SignalSpec
from latentbench.tokenizers.training import TrainingConfig

Sample = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class ToyConfig(RegulariserConfig):
    kind: ClassVar[str] = "toy"
    version: ClassVar[int] = 3

    start: float = 0.5
    keep: bool = False

    def unsupported_reason(self, tokenizer: TokenizerParts) -> str | None:
        return "toy is not for fsq" if tokenizer.bottleneck.kind == "fsq" else None

    def build(self, tokenizer: TokenizerParts) -> Regulariser:
        return (KeptToy if self.keep else Toy)(self)

    def schedule_milestones(self) -> tuple[float, ...]:
        return (self.start,)


class Toy(Regulariser):
    """A rival with a parameter group of its own, which starts late, and a parameter that trains with the tokenizer."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.rival = nn.Linear(3, 1)
        self.gain = nn.Parameter(torch.ones(()))
        self.last: Tensor | None = None

    def param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"rival": list(self.rival.parameters())}

    def losses(self, training_step: TrainingStep) -> LossTerms:
        self.last = training_step.reconstruction.detach()
        return LossTerms(
            losses={"toy": 0.1 * self.gain * training_step.values.square().mean()}, logs={"gain": self.gain.detach()}
        )

    def group_losses(self, group: str, *, step: int, steps: int) -> Mapping[str, Tensor]:
        assert group == "rival"
        if step < self.config.start * steps or self.last is None:
            return {}
        return {"loss": self.rival(self.last.mean((2, 3))).square().mean()}

    def truncate(self, values: Tensor, lengths: Tensor) -> Tensor:
        return values * (lengths > 0).view(-1, 1, 1, 1)


class KeptToy(Toy):
    keep_at_inference = True


@pytest.fixture(autouse=True)
def _toy() -> None:
    REGULARISERS.add("toy", ToyConfig)


def composed(config: TokenizerConfig) -> ComposedTokenizer:
    torch.manual_seed(3)
    tokenizer = build(config)
    assert isinstance(tokenizer, ComposedTokenizer)
    return tokenizer


def configured(signal: SignalSpec, **options: object) -> TokenizerConfig:
    return resolve("kl-vae", signal, {"width": 8, **options})


def test_the_same_seed_starts_the_tokenizer_the_same_with_and_without(image: SignalSpec) -> None:
    plain = composed(configured(image)).state_dict()
    toy = composed(configured(image, regularisers={"toy": 1.0})).state_dict()
    assert plain.keys() < toy.keys()
    assert all(torch.equal(value, toy[name]) for name, value in plain.items())


def test_its_parameters_join_the_tokenizer_s_and_its_group_s_do_not(image: SignalSpec) -> None:
    tokenizer = composed(configured(image, regularisers={"toy": 1.0}))
    param_groups = tokenizer.param_groups()
    toy = tokenizer.auxiliary_objectives["toy"]
    assert list(param_groups) == ["model", "rival"]
    assert any(p is toy.gain for p in param_groups["model"])
    assert not {id(p) for p in param_groups["model"]} & {id(p) for p in param_groups["rival"]}
    assert sum(map(len, param_groups.values())) == len(list(tokenizer.parameters()))


def test_a_rival_that_sits_out_changes_and_costs_nothing_until_its_start(
    image: SignalSpec, sample: Sample, tmp_path: Path
) -> None:
    source, device = MemoryMapped(sample(image, 8).numpy()), torch.device("cpu")

    def trained(start: float, steps: int) -> tuple[ComposedTokenizer, float, list[str], dict[str, Tensor]]:
        tokenizer = composed(configured(image, regularisers={"toy": {"start": start}}))
        rival = tokenizer.auxiliary_objectives["toy"].rival
        before = rival.weight.detach().clone()
        folder = tmp_path / f"{start}-{steps}"
        folder.mkdir()
        config = TrainingConfig(steps=steps, batch_size=4, ema=0.0)
        report = train(tokenizer, source, config, seed=0, folder=folder, device=device)
        names = sorted({name for row in report.curve for name in row})
        return tokenizer, report.flops, names, {"moved": rival.weight - before}

    late, late_flops, late_names, late_rival = trained(0.9, 4)
    always, always_flops, always_names, always_rival = trained(0.0, 4)
    assert torch.equal(late_rival["moved"], torch.zeros_like(late_rival["moved"]))
    assert always_rival["moved"].abs().max() > 0
    assert "rival_loss" in always_names
    assert "rival_loss" not in late_names
    assert {"toy", "gain"} <= set(late_names)
    assert all(torch.equal(value, always.state_dict()[name]) for name, value in late.state_dict().items())
    # 3 -> 1 per sample and forward, and the weight's gradient alone backward: batch x 3 x 2 x 2.
    assert always_flops - late_flops == pytest.approx(0.9 * 4 * (4 * 3 * 2 * 2))


@pytest.mark.parametrize("keep", [False, True])
def test_only_what_inference_needs_is_in_the_trained_tokenizer(image: SignalSpec, sample: Sample, keep: bool) -> None:
    tokenizer = composed(configured(image, regularisers={"toy": {"keep": keep}}))
    x = sample(image)
    tokenizer.on_train_start([x])
    tokenizer.eval()
    latents = tokenizer.encode(x)
    before = tokenizer.decode(latents)
    tokenizer.drop_training_modules()
    assert any(name.startswith("auxiliary_objectives.") for name in tokenizer.state_dict()) == keep
    assert torch.equal(tokenizer.decode(latents), before)
    short = Latents(values=latents.values, lengths=torch.tensor([0, 1, 1]))
    assert torch.equal(tokenizer.decode(short)[1:], before[1:])
    assert torch.equal(tokenizer.decode(short)[0], before[0]) != keep


@pytest.mark.parametrize("flag", ["detaches_features", "detaches_values"])
def test_gradients_stop_where_it_says(
    image: SignalSpec, sample: Sample, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, flag, True)
    monkeypatch.setattr(Toy, "losses", lambda self, training_step: LossTerms())
    tokenizer = composed(configured(image, regularisers={"toy": 1.0}, bottleneck={"beta": 0.0}))
    x = sample(image)
    tokenizer.on_train_start([x])
    tokenizer.losses(x, group="model", step=0, steps=1)["loss"].backward()
    encoder = [p.grad for p in tokenizer.encoder.parameters()]
    decoder = [p.grad for p in tokenizer.decoder.parameters()]
    assert all(grad is None or float(grad.abs().max()) == 0 for grad in encoder)
    assert any(grad is not None and float(grad.abs().max()) > 0 for grad in decoder)


def test_a_configuration_is_data_and_versions(image: SignalSpec) -> None:
    config = configured(image, regularisers={"toy": {"weight": 2, "start": 0.25}})
    assert TokenizerConfig.from_json(config.to_json()) == config
    assert config.versions()["regulariser.toy"] == 3
    assert config.schedule_milestones() == (0.0, 0.25)
    assert configured(image, regularisers={"toy": 0}).regularisers == ()
    assert "regularisers" not in configured(image, regularisers={"toy": 0}).to_json()


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("kl-vae", {"toi": 1.0}, "unknown regulariser 'toi'; did you mean 'toy'"),
        ("kl-vae", {"toy": {"strat": 1.0}}, "strat"),
        ("kl-vae", {"toy": -1.0}, "weight must not be negative"),
        ("fsq", {"toy": 1.0}, "regularisers.toy: toy is not for fsq"),
    ],
)
def test_a_mistake_is_one_line(image: SignalSpec, recipe: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(recipe, image, {"regularisers": options}, where="suite.toml: tokenizers[0]")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "kind", "place"),
    [
        ("regularisers", "adversary", "auxiliary.adversary"),
        ("auxiliary", "equivariance", "regularisers.equivariance"),
        ("losses", "auxiliary_decoder", "auxiliary.auxiliary_decoder"),
    ],
)
def test_a_part_in_another_s_table_is_told_its_place(image: SignalSpec, table: str, kind: str, place: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("kl-vae", image, {table: {kind: 1.0}}, where="t")
    assert str(caught.value).startswith(f"t.{table}.{kind}: {kind!r} is no ")
    assert str(caught.value).endswith(f"; its place is {place}")


def test_all_run_in_the_order_of_their_names(image: SignalSpec) -> None:
    config = configured(image, regularisers={"toy": 1.0, "alignment": 1.0}, auxiliary={"adversary": 1.0})
    kinds = ["adversary", "alignment", "toy"]
    assert [objective.kind for objective in config.auxiliary_objectives] == kinds
    assert list(composed(config).auxiliary_objectives) == kinds
    assert TokenizerConfig.from_json(config.to_json()) == config
