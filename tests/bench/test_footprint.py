"""What a step takes, by shapes alone, against what the same step takes when it is done."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from latentbench.bench.flops import counter
from latentbench.bench.footprint import evaluation_footprint, latents, measured, signals, training_footprint
from latentbench.bench.footprints import Footprint, Footprints, Subject
from latentbench.bench.imports import load_imports
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Trainable
from latentbench.tokenizers.optimisers import AdamW
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec
from latentbench.tokenizers.training import TrainingConfig


def image(size: int) -> SignalSpec:
    return SignalSpec(modality=Modality.IMAGE, channels=3, shape=(size, size))


CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(17, 32, 32), rate=25.0)
WAVE = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(8192,), rate=16000.0)

TOKENIZERS: dict[str, tuple[str, SignalSpec, dict[str, Any], int]] = {
    "kl-vae 32 px": ("kl-vae", image(32), {}, 16),
    "kl-vae 256 px": ("kl-vae", image(256), {"width": 8, "downsample": 8}, 2),
    "kl-vae 17 frames": ("kl-vae", CLIP, {"width": 8, "downsample": [1, 8, 8]}, 2),
    "kl-vae sound": ("kl-vae", WAVE, {"width": 8}, 4),
    "vqgan, both groups": ("vqgan", image(32), {"width": 16}, 4),
    "vit-vae": ("vit-vae", image(32), {}, 8),
    "residual quantiser": ("rvq", image(32), {"width": 16, "bottleneck": {"dropout": 0.0}}, 8),
    "few-step decoder, both stages": ("few-step-decoder", image(32), {"width": 16}, 4),
}
PRIORS = {"flow": "kl-vae", "ar": "vq-vae"}
BATCH = 32  # of the priors


def subjects() -> dict[str, Subject]:
    """Ten unlike trainings."""
    result = {}
    for name, (recipe, signal, options, size) in TOKENIZERS.items():
        config = resolve(recipe, signal, options | {"training": {"batch_size": size}})
        result[name] = Subject(kind="tokenizer", config={}, tokenizer=config.to_json(), versions={})
    for kind, recipe in PRIORS.items():
        options = {"training": {"batch_size": BATCH}}
        tokenizer = resolve(recipe, image(32), {}).to_json()
        config = {"prior": kind, "options": options}
        result[kind] = Subject(kind="prior", config=config, tokenizer=tokenizer, versions={})
    return result


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Footprints:
    """All of them, measured as a run does it: in another process, where what imports print is no footprint."""
    loud = tmp_path_factory.mktemp("imports") / "loud.py"
    loud.write_text("import os\nprint('loud')\nos.write(1, b'louder\\n')\n")
    footprints, items = Footprints(None), subjects().values()
    assert len(list(footprints.measure(items, load_imports([str(loud)])))) == 10
    assert footprints.known.keys() == {item.key for item in items}
    assert not footprints.reasons
    return footprints


def allocated(work: Callable[[], None]) -> int:
    """The most bytes that torch's allocator has handed out at a time meanwhile."""
    gc.collect()  # what other tests have left is not given back meanwhile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
            work()
    assert trace.profiler is not None
    assert trace.profiler.kineto_results is not None
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def two_steps(subject: Subject) -> None:
    """A training's memory as it is from the second step of the last stage on."""
    torch.manual_seed(0)
    tokenizer = TokenizerConfig.from_json(subject.tokenizer)
    if subject.kind == "prior":
        prior = priors.get(subject.config["prior"])()
        trained: Trainable = build_prior(prior, tokenizer.spec).train()
        item: Any = latents(tokenizer.spec, BATCH)
    else:
        trained = build(tokenizer).train()
        item = signals(tokenizer.spec, tokenizer.training.batch_size)
    groups = {name: params for name, params in trained.param_groups().items() if params}
    optimisers = {name: AdamW(params, fused=True) for name, params in groups.items()}
    average = [p.detach().clone() for params in groups.values() for p in params]
    for step in (98, 99):
        for name, params in groups.items():
            losses = trained.losses(item, group=name, step=step, steps=100)
            optimisers[name].zero_grad(set_to_none=True)
            losses["loss"].backward()
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimisers[name].step()
            del losses
        trained.after_step(step=step, steps=100)
    assert average


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TOKENIZERS, *PRIORS])
def test_the_peak_of_a_step_is_predicted_within_a_quarter(table: Footprints, name: str) -> None:
    item = subjects()[name]
    footprint = table.get(item)
    assert footprint is not None
    assert footprint.peak == pytest.approx(allocated(lambda: two_steps(item)), rel=0.25)


def test_what_is_kept_for_the_backward_pass_is_what_a_layer_keeps() -> None:
    class Net(Trainable):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.Tanh(), torch.nn.Linear(20, 5))

        def losses(self, batch: torch.Tensor, *, group: str, step: int, steps: int) -> dict[str, torch.Tensor]:
            return {"loss": self.layers(batch).sum()}

    footprint = training_footprint(Net, lambda: torch.rand(8, 10), TrainingConfig())
    parameters = 10 * 20 + 20 + 20 * 5 + 5
    # Parameters, two moments and the average; a step count for each of the four tensors; the batch of 8 x 10.
    assert footprint.saved == 4 * (8 * 10 + 8 * 20)
    assert footprint.states == 4 * (4 * parameters + 4)
    # Both products forward, the two of the weights' gradients, and that of the hidden layer's.
    assert footprint.flops == 2 * 8 * (10 * 20 * 2 + 20 * 5 * 3)


@pytest.mark.slow
def test_flops_are_those_of_the_step_that_is_done() -> None:
    config = resolve("kl-vae", image(16), {"width": 8})
    tokenizer = build(config)
    with counter() as counted:
        tokenizer.losses(signals(config.spec, 4), group="model", step=0, steps=10)["loss"].backward()
    footprint = training_footprint(lambda: build(config), lambda: signals(config.spec, 4), config.training)
    assert footprint.flops == counted.get_total_flops()


@pytest.mark.slow
def test_a_batch_in_parts_and_blocks_computed_again_take_less_for_the_same_work() -> None:
    def footprint(**options: Any) -> Footprint:
        training = {"batch_size": 8, **options}
        config = resolve("ae", image(32), {"width": 16, "training": training})
        return measured(Subject(kind="tokenizer", config={}, tokenizer=config.to_json(), versions={}))

    whole, parts, again = footprint(), footprint(micro_batch=2), footprint(checkpointing=True)
    assert footprint(devices=4) == parts
    assert whole.flops == parts.flops == again.flops
    assert parts.saved < 0.3 * whole.saved
    assert parts.step < whole.step
    assert again.saved < 0.6 * whole.saved
    assert whole.states == parts.states == again.states


@pytest.mark.slow
def test_an_evaluation_keeps_nothing() -> None:
    config = resolve("kl-vae", image(32), {"width": 8})
    training = training_footprint(lambda: build(config), lambda: signals(config.spec, 16), config.training)
    evaluation = evaluation_footprint(lambda: build(config), 16)
    assert evaluation.saved == 0
    assert evaluation.states < training.states / 3
    assert evaluation.step < training.step / 2
    assert evaluation.step == pytest.approx(evaluation_footprint(lambda: build(config), 32).step / 2, rel=0.01)


@pytest.mark.slow
def test_no_memory_is_taken_by_what_is_only_measured() -> None:
    """A model of 600 MB, a step of several GB: in a process that holds neither."""
    config = resolve("kl-vae", image(256), {"width": 256, "downsample": 8})
    footprints = []

    def measure() -> None:
        batch = lambda: signals(config.spec, 32)  # noqa: E731
        footprints.append(training_footprint(lambda: build(config), batch, config.training))

    assert allocated(measure) < 50e6
    assert footprints[0].states > 600e6
    assert footprints[0].saved > 5e9
