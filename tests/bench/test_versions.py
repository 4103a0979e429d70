"""Every version in the tree moves a key: what nobody hashes protects nothing."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.datasets import sources
from latentbench.bench.datasets.config import FILES, DataConfig
from latentbench.bench.kinds import KINDS
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite, suite_names
from latentbench.tasks.closed_forms import closed_forms
from latentbench.tasks.metrics.config import InceptionScoreConfig, measures, metrics, scores
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.config import EncoderConfig
from latentbench.tasks.priors.config import priors
from latentbench.tasks.probes import probes
from latentbench.tasks.proxies import proxies
from latentbench.tasks.vocoders import vocoders
from latentbench.tasks.vocoders.pretrained_config import PretrainedConfig
from latentbench.tokenizers import recipe, weights
from latentbench.tokenizers.adapters.config import ADAPTERS
from latentbench.tokenizers.adapters.declaration import Declaration, Description
from latentbench.tokenizers.auxiliary.config import AUXILIARY
from latentbench.tokenizers.backbones.config import BACKBONES
from latentbench.tokenizers.bottlenecks.config import BOTTLENECKS
from latentbench.tokenizers.codecs.config import CODECS
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.corruptions.config import CORRUPTIONS
from latentbench.tokenizers.diffusion_decoders.config import DIFFUSION_DECODERS
from latentbench.tokenizers.losses.config import LOSSES
from latentbench.tokenizers.regularisers.config import REGULARISERS
from latentbench.tokenizers.scrambles.config import SCRAMBLES
from latentbench.tokenizers.sequence_coding.config import SEQUENCE_CODINGS
from latentbench.tokenizers.spec import LatentGrid, Modality
from latentbench.tokenizers.training import TrainingConfig

ROOT = Path(__file__).parents[2]
REGISTRIES = (
    *(AUXILIARY, BACKBONES, BOTTLENECKS, CODECS, CORRUPTIONS, DIFFUSION_DECODERS, LOSSES, REGULARISERS),
    *(
        ADAPTERS,
        closed_forms,
        SCRAMBLES,
        SEQUENCE_CODINGS,
        KINDS,
        measures,
        metrics,
        nets,
        priors,
        probes,
        proxies,
        scores,
        sources,
        vocoders,
    ),
)
SINGLE = (TokenizerConfig, TrainingConfig, EncoderConfig, DataConfig)
# Interfaces whose `version` is that of those who implement them.
INTERFACES = {"Part", "JobKind", "Source"}

IMAGES = {"name": "image", "size": 16}
CLIPS = {"name": "video", "modality": "video", "size": 16, "frames": 4}
SOUNDS = {"name": "waveform", "modality": "waveform", "sample_rate": 8000, "seconds": 4.096}


def versioned() -> list[type]:
    """Every class whose version counts."""
    registered = {registry.get(name) for registry in REGISTRIES for name in registry.names()}
    return [*registered, *SINGLE]


def further_suites() -> list[dict[str, Any]]:
    """Together with the shipped suites they use every part that has a version."""
    noisy = {"recipe": "kl-vae", "width": 8, "downsample": 4, "corruption": {"kind": "noise"}}
    measured = {
        "data": [IMAGES, CLIPS, SOUNDS],
        "features": ["encoder", *nets.names()],
        "tasks": ["reconstruction", "generation"],
        "reconstruction": {"lpips": "all", "speech": True, "temporal": True, "hearing": True},
        "generation": {"scores": scores.names(), "samples": 65_536},
    }
    read = {
        "data": [
            *({"source": name, "path": "photos", "name": name} for name in FILES),
            {"source": "torchvision:CIFAR10", "size": 32},
        ],
        "tasks": ["reconstruction"],
    }
    adapted: dict[str, Any] = {"data": [IMAGES], "tasks": ["reconstruction"]}
    adapted["tokenizers"] = [{"adapter": name, "label": name} for name in ADAPTERS.names()]
    small = {"width": 8, "downsample": 4}
    controls = {
        "data": [IMAGES],
        "modelability": {"proxies": ["all"]},
        "tasks": ["generation", "modelability", "closed_form", "probes"],
        "probes": {"names": [*probes.names()]},
        "tokenizers": [
            {"recipe": "kl-vae", **small, "grid": {"scramble": [name for name in SCRAMBLES if name != "codes"]}},
            {"recipe": "vq-vae", **small, "scramble": "codes"},
        ],
    }
    mels = {"name": "mels", "modality": "spectrogram", "sample_rate": 8000, "seconds": 1.024}
    rendered: dict[str, Any] = {"data": [mels], "tasks": ["reconstruction"], "vocoder": {"kind": "istft"}}
    loaded = {**rendered, "vocoder": {"kind": "pretrained"}}
    rest = [{"tokenizers": [noisy], **tables} for tables in (measured, read, adapted, rendered, loaded)]
    gated = {"data": [IMAGES], "gate": {"by": "viv"}, "tokenizers": [{"recipe": "pca", "grid": {"channels": [2, 4]}}]}
    trained = [{"recipe": "ae", "downsample": 4, "width": 8, "grid": {"channels": [2, 4]}}]
    halved = {"data": [IMAGES], "halving": {"metric": "psnr"}, "tokenizers": trained}
    return [{"name": "rest", **tables} for tables in (*rest, controls, gated, halved)]


def test_every_version_moves_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each class gets a version of its own, and each has to stand in some job's versions."""
    for known in weights.known.values():
        (tmp_path / known.filenames[0]).touch()
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(InceptionScoreConfig, "check_weights", lambda self, *, where: None)  # it would read the file
    grid = LatentGrid(shape=(4, 4), channels=4)
    loaded = Description(declaration=Declaration(modalities=(Modality.IMAGE,)), grids=(grid,))
    monkeypatch.setattr(recipe, "describe", lambda config, signal, where: loaded)
    for name in ADAPTERS.names():  # whose files are not there
        monkeypatch.setattr(ADAPTERS.get(name), "located", lambda self, where: self)
        monkeypatch.setattr(ADAPTERS.get(name), "software", lambda self, where="": {})
    monkeypatch.setattr(PretrainedConfig, "located", lambda self, where: self)
    monkeypatch.setattr(PretrainedConfig, "unsupported_reason", lambda self, signal: None)
    classes = versioned()
    for number, cls in enumerate(classes):
        monkeypatch.setattr(cls, "version", 1000 + number)
    hashed: set[int] = set()
    for suite in (*suite_names(), *further_suites()):
        hashed |= {v for job in make_plan(load_suite(suite), {}).jobs.values() for v in job.versions.values()}
    unused = [cls.__name__ for number, cls in enumerate(classes) if 1000 + number not in hashed]
    assert unused == [], "these versions move no key of any suite"


def test_no_version_stands_anywhere_else() -> None:
    """A `version` or `VERSION` in the source belongs to a class of the list above, so that no other is forgotten."""
    names = {cls.__name__ for cls in versioned()} | INTERFACES
    for cls in versioned():
        names |= {base.__name__ for base in cls.__mro__}
    strangers = []
    for folder in ("bench", "tasks", "tokenizers", "results"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if "version" not in text.lower():
                continue
            for node in ast.walk(ast.parse(text)):
                body = node.body if isinstance(node, ast.ClassDef | ast.Module) else []
                owner = node.name if isinstance(node, ast.ClassDef) else None
                if any(_declares_version(item) for item in body) and owner not in names:
                    strangers.append(f"{path.relative_to(ROOT)}: {owner or 'a constant'}")
    assert strangers == []


def _declares_version(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    flat = [name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return any(isinstance(name, ast.Name) and name.id.lower() == "version" for name in flat)
