"""Objects of the user's own, found by module or file, and what the tokenizer around them makes of them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from latentbench.results.errors import UserError
from latentbench.tokenizers.adapters.describe import describe
from latentbench.tokenizers.adapters.python_config import PythonConfig
from latentbench.tokenizers.adapters.tokenizer import AdapterTokenizer, grids_of
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import Modality, SignalSpec

MODELS = '''
from types import SimpleNamespace
import torch
from torch import nn

class Linear(nn.Module):
    spec = {"modality": "image", "range": [0.0, 1.0], "multiple": 4}

    def __init__(self, width=4):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, width, 4, 4), nn.ConvTranspose2d(width, 3, 4, 4)

    def encode(self, x):
        self.seen = (float(x.min()), float(x.max()))
        return self.down(x)

    def decode(self, z):
        return SimpleNamespace(sample=self.up(z))

class Same:
    """Values as they are."""
    def encode(self, x):
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=2 * x + 1, std=torch.full_like(x, 0.5)))
    def decode(self, z):
        return ((z - 1) / 2,)

class Rounded:
    """One code of 1 to 16 per element of a grey picture."""
    spec = {"modality": "image", "channels": 1, "codebook_sizes": 16, "first_code": 1}
    def encode(self, x):
        return ((x[:, 0] + 1) * 7.5).round().long().clamp(0, 15) + 1
    def decode(self, codes):
        assert codes.ndim == 3
        return (codes[:, None] - 1) / 7.5 - 1

class Several(Rounded):
    spec = {"modality": "image", "channels": 3, "codebook_sizes": [16, 16, 16]}
    def encode(self, x):
        return ((x + 1) * 7.5).round().long().clamp(0, 15)
    def decode(self, codes):
        return codes / 7.5 - 1

class Tuple(Rounded):
    def encode(self, x):
        return (x, x)

class Tokens(Rounded):
    """As TiTok: tokens `[B, N]` without a grid, of pictures in [0, 1]."""
    spec = {"modality": "image", "channels": 1, "range": [0.0, 1.0], "codebook_sizes": 16, "topology": "sequence"}
    def encode(self, x):
        return (x.flatten(1) * 15).round().long()
    def decode(self, codes):
        return codes.view(-1, 1, 4, 4) / 15

ready = Rounded()
no_tokenizer = 3
'''


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A user's file of models."""
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


def located(models: Path, name: str, **options: Any) -> PythonConfig:
    """The located configuration of a class of that file."""
    return PythonConfig(path=f"{models}:{name}", **options).located("eval")


def loaded(config: PythonConfig, signal: SignalSpec) -> AdapterTokenizer:
    """The tokenizer, with the grids that were described."""
    return AdapterTokenizer(config, signal, describe(config, signal, "eval").grids)


def test_the_declared_range_is_what_the_model_sees(models: Path, make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("image", (8, 8))
    tokenizer = loaded(located(models, "Linear"), signal)
    tokenizer.encode(torch.linspace(-1, 1, 192).view(1, 3, 8, 8))
    model: Any = tokenizer.adapter.modules()[0]
    assert model.seen == (0.0, 1.0)
    assert tokenizer.spec.tsr == 12
    decoded = tokenizer.decode(Latents(values=torch.zeros(1, 4, 2, 2)))
    torch.testing.assert_close(decoded, 2 * model.up(torch.zeros(1, 4, 2, 2)) - 1)


def test_weights_without_a_file_are_the_same_in_every_process(
    models: Path, make_signal: Callable[..., SignalSpec]
) -> None:
    signal, config = make_signal("image", (8, 8)), located(models, "Linear", options={"width": 2})
    torch.manual_seed(1)
    first = loaded(config, signal)
    torch.manual_seed(2)
    drawn = torch.rand(())
    second = loaded(config, signal)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(first.encode(x).values, second.encode(x).values)  # type: ignore[arg-type]
    torch.manual_seed(2)
    assert torch.rand(()) == drawn  # and the caller's generator goes on as if nothing had been loaded
    assert first.spec.grid.channels == 2


@pytest.mark.slow
def test_weights_are_loaded_and_a_pickle_needs_trust(
    models: Path, tmp_path: Path, make_signal: Callable[..., SignalSpec]
) -> None:
    signal = make_signal("image", (8, 8))
    state = {
        k: torch.full_like(v, 0.5) for k, v in loaded(located(models, "Linear"), signal).held[0].state_dict().items()
    }
    save_file(state, tmp_path / "half.safetensors")
    torch.save(state, tmp_path / "half.pth")
    config = located(models, "Linear", weights=str(tmp_path / "half.safetensors"))
    assert config.weights == ""
    assert sorted(config.files) == ["module", "weights"]
    latents = loaded(config, signal).encode(torch.ones(1, 3, 8, 8))
    torch.testing.assert_close(latents.values, torch.full((1, 4, 2, 2), 0.5 * 48 + 0.5))
    with pytest.raises(UserError, match=r"half.pth is a pickle.*--trust-pickle"):
        located(models, "Linear", weights=str(tmp_path / "half.pth"))
    trusted = located(models, "Linear", weights=str(tmp_path / "half.pth"), trust_pickle=True)
    assert not trusted.trust_pickle  # it changes no number, so it is in no key
    assert torch.equal(loaded(trusted, signal).encode(torch.ones(1, 3, 8, 8)).values, latents.values)  # type: ignore[arg-type]


def test_a_posterior_is_normalised_with_its_deviation(models: Path, make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("image", (4, 4))
    spec = {"modality": "image", "normaliser": {"mean": 1.0, "std": 2.0}}
    x = torch.rand(2, 3, 4, 4) * 2 - 1
    tokenizer = loaded(located(models, "Same", spec=spec), signal)
    latents = tokenizer.encode(x)
    torch.testing.assert_close(latents.values, x)
    torch.testing.assert_close(latents.scale, torch.full_like(x, 0.25))
    torch.testing.assert_close(tokenizer.decode(latents), x)
    assert tokenizer.normalises
    raw = loaded(located(models, "Same", spec=spec, normaliser="none", posterior="mode"), signal)
    assert not raw.normalises
    torch.testing.assert_close(raw.encode(x).values, 2 * x + 1)
    assert raw.encode(x).scale is None
    torch.testing.assert_close(raw.decode(raw.encode(x)), x)


@pytest.mark.parametrize(("name", "channels"), [("Rounded", 1), ("Several", 3), ("ready", 1)])
def test_codes_count_from_0_and_have_heads(models: Path, name: str, channels: int) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=channels, shape=(4, 4))
    tokenizer = loaded(located(models, name), signal)
    assert (tokenizer.spec.grid.codebook_sizes, tokenizer.spec.discrete) == ((16,) * channels, True)
    x = torch.linspace(-1, 1, 16 * channels).view(1, channels, 4, 4)
    latents = tokenizer.encode(x)
    assert latents.codes is not None
    assert (int(latents.codes.min()), int(latents.codes.max())) == (0, 15)
    assert latents.codes.shape == (1, channels, 4, 4)
    assert float((tokenizer.decode(latents) - x).abs().max()) <= 1 / 15 + 1e-6


def test_tokens_need_no_grid(models: Path) -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=1, shape=(4, 4))
    tokenizer = loaded(located(models, "Tokens"), signal)
    assert (tokenizer.spec.grid.shape, tokenizer.spec.topology) == ((16,), "sequence")
    x = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    torch.testing.assert_close(tokenizer.decode(tokenizer.encode(x)), x)


def test_a_sound_is_padded_and_cropped(tmp_path: Path, make_signal: Callable[..., SignalSpec]) -> None:
    (tmp_path / "hop.py").write_text(
        "class Hop:\n"
        "    spec = {'modality': 'waveform', 'multiple': 10, 'pad': True, 'range': [0.0, 1.0]}\n"
        "    def encode(self, x):\n        return x.unflatten(2, (-1, 10)).squeeze(1).mT\n"
        "    def decode(self, z):\n        return z.mT.flatten(1).unsqueeze(1)\n"
    )
    tokenizer = loaded(located(tmp_path / "hop.py", "Hop"), make_signal("waveform", (25,)))
    x = torch.rand(2, 1, 25) * 2 - 1
    latents = tokenizer.encode(x)
    assert latents.values is not None
    assert latents.values.shape == (2, 10, 3)
    assert torch.equal(latents.values[:, 5:, 2], torch.full((2, 5), 0.5))  # silence in the model's own range
    torch.testing.assert_close(tokenizer.decode(latents), x)


def test_it_stays_in_eval_mode(models: Path, make_signal: Callable[..., SignalSpec]) -> None:
    tokenizer = loaded(located(models, "Linear"), make_signal("image", (8, 8)))
    tokenizer.train()
    assert not any(module.training for module in tokenizer.modules())
    assert not any(p.requires_grad for p in tokenizer.parameters())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.py:Mine", "eval.path: nowhere.py: no such file"),
        ("no_such_package.models:Mine", "no module of that name on Python's path or below this folder"),
        ("models.py", "expected MODULE:CLASS or FILE.py:CLASS"),
        ("", "eval.path: missing"),
    ],
)
def test_what_is_not_there_is_named(path: str, message: str) -> None:
    with pytest.raises(UserError, match="eval") as error:
        PythonConfig(path=path).located("eval")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Linea", {}, "has no 'Linea'; it has"),
        ("no_tokenizer", {}, "no_tokenizer has no method 'encode'"),
        ("Same", {}, "spec.modality: missing"),
        ("Tuple", {}, "encode gave a tuple, expected a tensor"),
        ("Linear", {"options": {"widht": 3}}, "can't be used: TypeError"),
        ("ready", {"options": {"width": 3}}, "options: ready is an object, which takes none"),
        ("Rounded", {"spec": {"codebook_sizes": []}}, "spec.codebook_sizes: missing; encode gives codes"),
    ],
)
def test_what_can_not_be_used_is_one_line(models: Path, name: str, options: dict[str, Any], message: str) -> None:
    channels = 1 if name in ("Tuple", "Rounded") else 3
    signal = SignalSpec(modality=Modality.IMAGE, channels=channels, shape=(8, 8))
    with pytest.raises(UserError) as error:
        describe(located(models, name, **options), signal, "eval")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_codes_need_to_know_how_many_there_are(models: Path) -> None:
    tokenizer = AdapterTokenizer(located(models, "Several"), None)
    with pytest.raises(UserError, match="encode gives 2 per position"):
        grids_of(Latents(codes=torch.zeros(1, 2, 4, 4, dtype=torch.long)), tokenizer.declaration)


def test_a_dotted_module_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_signal: Callable[..., SignalSpec]
) -> None:
    package = tmp_path / "dotted_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    config = PythonConfig(path="dotted_package.inner:Linear").located("eval")
    assert config.files == {"module": str(package / "inner.py")}
    assert config.target == "dotted_package.inner:Linear"
    assert loaded(config, make_signal("image", (8, 8))).spec.tsr == 12


def test_another_content_of_a_file_is_described_anew(models: Path, make_signal: Callable[..., SignalSpec]) -> None:
    signal = make_signal("image", (8, 8))
    assert describe(located(models, "Linear"), signal, "eval").grids[0].channels == 4
    models.write_text(MODELS.replace("width=4", "width=6"))
    assert describe(located(models, "Linear"), signal, "eval").grids[0].channels == 6


def test_a_description_counts_parameters_and_flops(models: Path, make_signal: Callable[..., SignalSpec]) -> None:
    description = describe(located(models, "Linear"), make_signal("image", (8, 8)), "eval")
    assert description.parameters == 2 * 3 * 4 * 16 + 4 + 3
    assert description.flops == 2 * 2 * (3 * 16) * 4 * 4
    assert description.latents == "deterministic"
    assert len(description.state) == 16


def test_versions_are_those_of_the_classs_package_which_is_looked_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def packages() -> dict[str, list[str]]:
        looked.append(1)
        return {"torch": ["torch"], "models": ["torch"]}

    monkeypatch.setattr("latentbench.tokenizers.adapters.python_config.packages_distributions", packages)
    monkeypatch.syspath_prepend(str(tmp_path))  # another path, for which nothing is known yet
    for _ in range(2):
        assert PythonConfig(path="torch.nn:Linear").software() == {"torch": version("torch")}
        assert PythonConfig(path="nobodys.models:Mine").software() == {}
        assert PythonConfig(path="models.py:Mine").software() == {}, "a file is of no package, whatever its name"
    assert len(looked) == 1
