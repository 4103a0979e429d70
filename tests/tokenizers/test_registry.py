from __future__ import annotations

import subprocess
import sys

import pytest

from latentbench.results.errors import UserError
from latentbench.tasks.metrics import metrics
from latentbench.tasks.proxies import proxies
from latentbench.tokenizers.registry import Registry


def test_names_are_loaded_when_asked_for() -> None:
    registry = Registry("thing", "latentbench.things", {"modality": "tokenizers.spec:Modality"})
    registry.add("own", dict)
    assert registry.names() == ["modality", "own"]
    assert registry.get("modality").__name__ == "Modality"
    assert registry.get("own") is dict
    assert "own" in registry
    assert list(registry) == ["modality", "own"]


def test_an_unknown_name_suggests_its_neighbour() -> None:
    registry = Registry("bottleneck", "latentbench.none", {"kl": "a:b", "vector": "c:d"})
    with pytest.raises(UserError, match=r"^suite.toml: x: unknown bottleneck 'vectr'; did you mean 'vector'\?$"):
        registry.get("vectr", where="suite.toml: x")
    with pytest.raises(UserError, match="known: kl, vector"):
        registry.version("zzzzz")


def test_a_collision_is_an_error() -> None:
    registry = Registry("thing", "latentbench.none", {"a": "x:y"})
    registry.add("a", "x:y")
    with pytest.raises(UserError, match="'a' is registered twice"):
        registry.add("a", "x:z")


def test_what_is_of_another_kind_is_refused_where_it_is_registered_or_asked_for() -> None:
    entries = {"bool": "builtins:bool", "text": "builtins:str", "one": "math:pi"}
    registry = Registry("thing", "latentbench.none", entries, base=int)
    assert registry.get("bool") is bool
    with pytest.raises(UserError, match=r"^thing 'text': str is no int; register a subclass of that$"):
        registry.get("text")
    with pytest.raises(UserError, match=r"^thing 'one': 3\.14\d* is no int"):
        registry.get("one")
    with pytest.raises(UserError, match="thing 'mine': dict is no int"):
        registry.add("mine", dict)
    registry.add("zero", 0)
    assert registry.get("zero") == 0


@pytest.mark.parametrize("registry", [metrics, proxies], ids=["metrics", "proxies"])
def test_versions_read_from_source_are_those_of_the_classes(registry: Registry) -> None:
    for name in registry.names():
        assert registry.version(name) == registry.get(name).version


def test_versions_are_read_without_importing() -> None:
    code = (
        "import sys\n"
        "from latentbench.tasks.proxies import proxies\n"
        "print([proxies.version(n) for n in proxies.names()], 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().endswith("False")
