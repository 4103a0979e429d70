"""What is traced: every trained recipe, every prior, every net and metric, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from tracing import BATCH, CUDA, evaluated, latent_batch, signal_batch, traced

from latentbench.bench.datasets.cached import CachedSplit
from latentbench.tasks.latents import LatentSplit
from latentbench.tasks.memory_mapped import MemoryMapped
from latentbench.tasks.metrics import metrics
from latentbench.tasks.metrics.config import SpeechConfig
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.config import EncoderConfig
from latentbench.tasks.nets.encoder import EncoderTrainer, LabelledSource
from latentbench.tasks.priors.build import build_prior
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers import weights
from latentbench.tokenizers.build import build
from latentbench.tokenizers.mel import LogMel
from latentbench.tokenizers.recipe import load_recipe, recipe_names, resolve
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, MelSpec, Modality, SignalSpec

Traces = dict[str, Callable[[], dict[str, Any]]]

_MEL = MelSpec(sample_rate=16_000, n_mels=32)
SIGNALS = {
    "image": SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32)),
    "video": SignalSpec(modality=Modality.VIDEO, channels=3, shape=(5, 32, 32), rate=8.0),
    "even video": SignalSpec(modality=Modality.VIDEO, channels=3, shape=(4, 32, 32), rate=8.0),
    "waveform": SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(8192,), rate=16_000.0),
    "spectrogram": SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=1,
        shape=(32, 32),
        rate=16_000.0,
        mel=_MEL,
        source_shape=(1, 32 * _MEL.hop),
    ),
}
_SIGNALS = SIGNALS | {"clip": replace(SIGNALS["video"], shape=(9, 32, 32))}  # the shortest that nets take
# Recipes in a second modality, where other layers serve it.
_FURTHER = (("kl-vae", "even video"), ("kl-vae", "waveform"))
# Fewer of what is there several times over, each time by the same code: a trace's time goes by operators.
_FEWER: dict[str, dict[str, Any]] = {
    "dac": {"bottleneck": {"levels": 2}, "auxiliary": {"adversary": {"windows": [512, 256]}}},
    "encodec": {"bottleneck": {"levels": 2}, "auxiliary": {"adversary": {"windows": [512, 256]}}},
    "stable-audio-vae": {"auxiliary": {"adversary": {"windows": [512, 256]}}},
    "flowmo": {"diffusion_decoder": {"seek_steps": 2, "steps": 2}},
}
_EVEN = ("video-vae", "kl-vae")  # that can't have 1 + 4k frames


def recipes() -> Traces:
    """A training step of every recipe that trains, in the first modality that it has."""
    loaded = [load_recipe(name) for name in recipe_names()]
    pairs = [
        (recipe.name, next(name for name in SIGNALS if name in recipe.modalities))
        for recipe in loaded
        if "codec" not in recipe.table and recipe.name != "pca"
    ]
    pairs = [(name, "even video" if kind == "video" and name in _EVEN else kind) for name, kind in pairs]
    return {_title(name, kind): _recipe(name, kind) for name, kind in [*pairs, *_FURTHER]}


def _title(name: str, kind: str) -> str:
    return name if kind == "image" else f"{name}, {kind}"


def _recipe(name: str, kind: str) -> Callable[[], dict[str, Any]]:
    def trace() -> dict[str, Any]:
        config = resolve(name, SIGNALS[kind], _FEWER.get(name, {}))
        batch = signal_batch(config.spec)
        step = traced(lambda: build(config), batch, config.training)
        return step | {"evaluation": evaluated(lambda: build(config), _there_and_back(batch))}

    return trace


def _there_and_back(batch: Callable[[str], Any]) -> Callable[[Any], Callable[[], Any]]:
    """Encoding and decoding of a batch."""

    def work(tokenizer: Any) -> Callable[[], Any]:
        signal = batch(CUDA)
        return lambda: tokenizer.decode(tokenizer.encode(signal))

    return work


_IMAGE = SIGNALS["image"]
_GRIDS = (
    (LatentGrid(shape=(8, 8), channels=4, codebook_sizes=(256,)),),
    (LatentGrid(shape=(8, 8), channels=4),),
    (LatentGrid(shape=(64,), channels=4),),
    (LatentGrid(shape=(64,), channels=4, codebook_sizes=(256,), topology="sequence"),),
    (LatentGrid(shape=(64,), channels=4, codebook_sizes=(256,), topology="set"),),
    (LatentGrid(shape=(64,), channels=4, topology="set"),),
    (
        LatentGrid(shape=(4, 4), channels=4, codebook_sizes=(256,)),
        LatentGrid(shape=(8, 8), channels=4, codebook_sizes=(256,)),
    ),
)


def all_priors() -> Traces:
    """A training step of every prior, on the first latents that it models."""
    return {name: _prior(name) for name in priors.names()}


def _prior(name: str) -> Callable[[], dict[str, Any]]:
    def trace() -> dict[str, Any]:
        config = priors.get(name)()
        specs = [LatentSpec(signal=_IMAGE, grids=grids) for grids in _GRIDS]
        spec = next(spec for spec in specs if config.unsupported_reason(spec) is None)
        return traced(lambda: build_prior(config, spec), latent_batch(spec), config.training)

    return trace


def others() -> Traces:
    """Nets, metrics, the vocoder, and how batches come to the device."""
    result: Traces = {f"net {name}": _net(name) for name in nets.names() if not name.startswith("fidelity")}
    result |= {f"encoder, {classes} classes": _encoder(classes) for classes in (1, 10)}
    for name in metrics.names():
        config = metrics.get(name)()
        if weights_of(config) is None and not isinstance(config, SpeechConfig):
            kind = next(kind for kind in SIGNALS if config.unsupported_reason(SIGNALS[kind]) is None)
            result[f"metric {name}"] = _metric(name, kind)
    result["vocoder"] = _vocoder
    result |= {f"codec {name}": _codec(name) for name in ("dct", "identity")}  # the others are not torch's
    return result | {f"batch of {name}": _batch(source) for name, source in _SOURCES.items()}


def weights_of(config: Any) -> str | None:
    """The weights that a net or metric needs."""
    return getattr(config, "weights", None)


def _net(name: str) -> Callable[[], dict[str, Any]]:
    def trace() -> dict[str, Any]:
        config = nets.get(name)()
        if config.weights is not None and weights.find(config.weights) is None:
            return {"skipped": f"no weights {config.weights}"}
        kind = next(kind for kind in (*SIGNALS, "clip") if config.unsupported_reason(_SIGNALS[kind]) is None)
        spec = _SIGNALS["clip" if kind == "video" else kind]
        loaded = config.build(spec, config.read_weights(weights.require(config.weights))) if config.weights else None

        def work(net: Any) -> Callable[[], Any]:
            with torch.device(CUDA):
                signal = torch.rand(BATCH, spec.channels, *spec.shape)
            return lambda: net(signal)

        return evaluated(lambda: loaded if loaded is not None else config.build(spec), work)

    return trace


def _encoder(classes: int) -> Callable[[], dict[str, Any]]:
    def batch(device: str) -> Any:
        signal = signal_batch(LatentSpec(signal=_IMAGE, grids=_GRIDS[1]))(device)
        return signal, torch.zeros(BATCH, dtype=torch.int64, device=device)

    config = EncoderConfig()
    return lambda: traced(lambda: EncoderTrainer(config, _IMAGE, classes), batch, config.training)


def _metric(name: str, kind: str) -> Callable[[], dict[str, Any]]:
    def trace() -> dict[str, Any]:
        metric, spec = metrics.get(name)().build(), SIGNALS[kind]

        def work(_: Any) -> Callable[[], Any]:
            with torch.device(CUDA):
                pair = [torch.rand(BATCH, spec.channels, *spec.shape) for _ in range(2)]
            return lambda: metric.values(*pair, spec)

        return evaluated(nn.Identity, work)

    return trace


def _codec(name: str) -> Callable[[], dict[str, Any]]:
    config = resolve(name, _IMAGE, {})
    return lambda: evaluated(lambda: build(config), _there_and_back(signal_batch(config.spec)))


def _vocoder() -> dict[str, Any]:
    def work(log_mel: Any) -> Callable[[], Any]:
        with torch.device(CUDA):
            mel = torch.rand(BATCH, 1, *SIGNALS["spectrogram"].shape)
        return lambda: log_mel.invert(mel, iterations=2)

    return evaluated(lambda: LogMel(_MEL), work)


def _images(flips: bool) -> Callable[[], Any]:
    samples = MemoryMapped(np.zeros((40, 3, 8, 8), np.uint8))
    split = CachedSplit(signal=_IMAGE, samples=samples, labels=np.zeros(40, np.int64), flips=flips)
    device, rows = torch.device(CUDA), np.arange(BATCH)
    return lambda: split.batch(rows, device, rows if flips else None)


def _labelled() -> Callable[[], Any]:
    samples = MemoryMapped(np.zeros((40, 3, 8, 8), np.uint8))
    source = LabelledSource(CachedSplit(signal=_IMAGE, samples=samples, labels=np.zeros(40, np.int64)))
    return lambda: source.batch(np.arange(BATCH), torch.device(CUDA))


def _latents() -> Callable[[], Any]:
    values = np.zeros((40, 4, 2, 2), np.float32)
    split = LatentSplit(
        levels=({"values": values, "scale": values, "codes": np.zeros((40, 1, 2, 2), np.uint16)},),
        labels=np.zeros(40, np.int64),
        moments=((torch.zeros(4), torch.ones(4)),),
    )
    return lambda: split.batch(np.arange(BATCH), torch.device(CUDA))


_SOURCES: dict[str, Callable[[], Callable[[], Any]]] = {
    "images": lambda: _images(False),
    "mirrored images": lambda: _images(True),
    "labelled images": _labelled,
    "latents": _latents,
}


def _batch(source: Callable[[], Callable[[], Any]]) -> Callable[[], dict[str, Any]]:
    """The second batch of a source that a GPU holds; pages are not locked, for which a driver is needed."""

    def trace() -> dict[str, Any]:
        read = MemoryMapped._read
        with (
            mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
            mock.patch("torch.cuda.mem_get_info", return_value=(1 << 34, 1 << 34)),
            mock.patch.object(MemoryMapped, "_read", lambda self, rows, pinned=False: read(self, rows)),
        ):
            return evaluated(nn.Identity, lambda _: source())

    return trace


ALL: dict[str, Callable[[], Traces]] = {"recipes": recipes, "priors": all_priors, "others": others}
