"""The example of docs/nets.md runs, and its table is complete."""

from __future__ import annotations

from pathlib import Path

import torch

from latentbench.tasks.features import collect
from latentbench.tasks.nets import nets
from latentbench.tasks.nets.config import EncoderConfig
from latentbench.tasks.nets.frozen import FrozenNet
from latentbench.tokenizers import weights
from latentbench.tokenizers.part import resolve_target
from latentbench.tokenizers.spec import Modality, SignalSpec

PAGE = (Path(__file__).parents[3] / "docs" / "nets.md").read_text()


def test_the_example_adds_a_net() -> None:
    code = PAGE.split("```python\n")[1].split("```")[0]
    assert code.count("\n") < 40
    exec(compile(code, "docs/nets.md", "exec"), {"__name__": "example"})
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    net = nets.get("thumbnail")().load(signal, torch.device("cpu"))
    x = torch.rand(3, 3, 16, 16)
    features = collect(net, [x[:2], x[2:]])
    assert features.shape == (3, 64)
    torch.testing.assert_close(features[:, 0], x[:, :, :2, :2].mean((1, 2, 3)))


def test_the_table_names_every_net_and_file() -> None:
    for name in nets.names():
        assert f"| `{name}` |" in PAGE
        assert str(nets.get(name).dim) in PAGE
        needed = nets.get(name).weights
        assert needed is None or all(filename in PAGE for filename in weights.known[needed].filenames)


def test_every_net_that_was_judged_says_what_it_is_blind_to() -> None:
    """The extractors of torch-fidelity have no weights here, and sFID's came later: nobody has looked."""
    names = [name for name in nets.names() if not name.startswith("fidelity:") and name != "inception_spatial"]
    judged = [nets.get(name) for name in names]
    for config in (EncoderConfig, *judged):
        assert config.blind_to
        assert config.blind_to[-1] not in ".;"  # it stands within a sentence of a table's notes


def test_every_description_builds_a_net() -> None:
    for config in map(nets.get, nets.names()):
        assert issubclass(resolve_target(config.builds, beside=config.__module__), FrozenNet)
