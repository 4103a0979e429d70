"""Fixtures shared by all tests.

torch is imported by the first test: the process that hands tests to xdist's workers starts these once it has read this.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# Before numpy and torch are there, and for every process that a test starts: of two threads on a busy core one spins.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from latentbench.bench.datasets import sources
from latentbench.bench.engines import engines
from latentbench.bench.engines.inline import InlineEngine
from latentbench.bench.jobs import Job
from latentbench.bench.kinds import KINDS
from latentbench.bench.worker_protocol import WorkerRequest
from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.metrics import measures, metrics, scores
from latentbench.tasks.nets import nets
from latentbench.tasks.priors.config import priors
from latentbench.tasks.probes import probes
from latentbench.tasks.proxies import proxies
from latentbench.tasks.vocoders import vocoders
from latentbench.tokenizers.adapters.config import ADAPTERS
from latentbench.tokenizers.auxiliary.config import AUXILIARY
from latentbench.tokenizers.backbones.config import BACKBONES
from latentbench.tokenizers.bottlenecks.config import BOTTLENECKS
from latentbench.tokenizers.codecs.config import CODECS
from latentbench.tokenizers.corruptions.config import CORRUPTIONS
from latentbench.tokenizers.diffusion_decoders.config import DIFFUSION_DECODERS
from latentbench.tokenizers.losses.config import LOSSES
from latentbench.tokenizers.regularisers.config import REGULARISERS
from latentbench.tokenizers.scrambles.config import SCRAMBLES
from latentbench.tokenizers.sequence_coding.config import SEQUENCE_CODINGS
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

REGISTRIES = (
    KINDS,
    ADAPTERS,
    AUXILIARY,
    BACKBONES,
    BOTTLENECKS,
    CODECS,
    CORRUPTIONS,
    DIFFUSION_DECODERS,
    SCRAMBLES,
    SEQUENCE_CODINGS,
    REGULARISERS,
    LOSSES,
    closed_forms,
    engines,
    measures,
    metrics,
    nets,
    priors,
    probes,
    proxies,
    scores,
    sources,
    vocoders,
)


def pytest_configure() -> None:
    """Test modules are compiled once, whatever `PYTHONDONTWRITEBYTECODE` says: it takes pytest twenty seconds."""
    sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """A million objects of libraries and tests stay to the end: the garbage collector need not look at them, nor while
    they are made."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and weights (`LATENTBENCH_TEST_DATA`, else `../shared/data`); skips when absent."""
    folder = Path(os.environ.get("LATENTBENCH_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not present: {folder} (set LATENTBENCH_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def simulation() -> Callable[[str], ModuleType]:
    """`(name)`: the script of that name in tests/coverage, as a module."""
    return lambda name: _script(Path(__file__).parent / "coverage" / f"{name}.py")


@pytest.fixture(scope="session")
def docs_script() -> Callable[[str], ModuleType]:
    """`(name)`: the script of that name in docs, as a module."""
    return lambda name: _script(Path(__file__).parents[1] / "docs" / f"{name}.py")


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_signal() -> Callable[..., SignalSpec]:
    """`(modality, shape, rate=)`: a signal of that shape, sounds mono at `rate` Hz, clips at 8 frames a second."""
    return _signal


def _signal(modality: str, shape: tuple[int, ...], rate: float = 8000.0) -> SignalSpec:
    kind = Modality(modality)
    options: dict[str, Any] = {"modality": kind, "channels": 1 if kind.is_audio else 3, "shape": shape}
    if kind is Modality.VIDEO:
        options["rate"] = 8.0
    if kind.is_audio:
        options["rate"] = rate
    if kind is Modality.SPECTROGRAM:
        options["mel"] = mel = MelSpec(sample_rate=round(rate), n_mels=shape[0])
        options["source_shape"] = (1, shape[1] * mel.hop)
    return SignalSpec(**options)


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers (a page's example does) is gone after it."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture(autouse=True, scope="session")
def _seeded_when_cuda_starts() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    # `torch.manual_seed` writes down a stack for a CUDA that has not started: two milliseconds a test.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)
    # Tiny tensors: on busy cores a second thread costs far more than it brings.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _nothing_waits_for_the_disk() -> Iterator[None]:
    """No test cuts the power, and several write hundreds of records; who asks for it when is in tests of the store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _jobs_in_one_thread() -> Iterator[None]:
    """The same for the jobs of runs in this process, which take all cores: five times as long on busy ones."""
    request = InlineEngine._request

    def in_one_thread(engine: InlineEngine, job: Job) -> WorkerRequest:
        return replace(request(engine, job), threads=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InlineEngine, "_request", in_one_thread)
        yield
