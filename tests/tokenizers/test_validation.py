from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from latentbench.results.errors import UserError
from latentbench.tokenizers.validation import check


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    rate: float
    steps: int = 1
    betas: tuple[float, float] = (0.9, 0.99)
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError("steps must be at least 0")


def test_plain_data_becomes_the_dataclass() -> None:
    options = check(Options, {"rate": 1, "betas": [0.5, 0.6], "inner": {"depth": 3}, "many": [{"depth": 2}]}, where="f")
    assert options == Options(rate=1.0, betas=(0.5, 0.6), inner=Inner(depth=3), many=(Inner(depth=2),))
    assert isinstance(options.rate, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "f.toml: rate: missing"),
        ({"rate": "1e-4"}, 'f.toml: rate: input should be a valid number, got "1e-4"'),
        ({"rate": float("nan")}, "f.toml: rate: input should be a finite number, got NaN"),
        ({"rate": 1, "betas": [0.5, float("inf")]}, "f.toml: betas[1]: input should be a finite number, got Infinity"),
        ({"rate": 1, "steps": 1.5}, "f.toml: steps: input should be a valid integer, got 1.5"),
        ({"rate": 1, "steps": True}, "f.toml: steps: input should be a valid integer, got true"),
        ({"rate": 1, "stepz": 2}, "f.toml: stepz: unknown key; did you mean 'steps'?"),
        ({"rate": 1, "qqqq": 2}, "f.toml: qqqq: unknown key; known: betas, inner, many, name, rate, steps"),
        ({"rate": 1, "inner": {"depht": 2}}, "f.toml: inner.depht: unknown key; did you mean 'depth'?"),
        ({"rate": 1, "many": [{}, {"depth": "x"}]}, 'f.toml: many[1].depth: input should be a valid integer, got "x"'),
        ({"rate": 1, "steps": -1}, "f.toml: steps must be at least 0"),
        ({"rate": {1, 2}}, "f.toml: rate: only numbers, strings, booleans, lists and tables are allowed"),
    ],
)
def test_mistakes_are_one_line_with_path_and_cure(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check(Options, data, where="f.toml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class _Inner:
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class _Outer:
    inner: _Inner
    names: tuple[str, ...] = ()
    text: str = ""


def test_paths_that_are_no_utf_8_come_back_as_they_are() -> None:
    data = {"inner": {"path": "caf\udce9"}, "names": ["\udcff", "a\\udce9", "\U0010ff00"], "text": "\\\udc80"}
    checked = check(_Outer, data, where="x")
    assert (checked.inner.path, checked.names, checked.text) == (
        "caf\udce9",
        ("\udcff", "a\\udce9", "\U0010ff00"),
        "\\\udc80",
    )
