"""Suites, arguments and recipes that somebody might write, or send: each is planned, or refused in one line.

Run by hand: `python -P tests/coverage/fuzz.py [CASES] [SEED]`. Prints what was neither, and exits with 1 for any.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from latentbench.bench.cli import main
from latentbench.tokenizers.recipe import recipe_names

SECONDS = 20  # a case that takes longer hangs

BASE: dict[str, Any] = {
    "name": "fuzz",
    "data": [{"name": "shapes", "modality": "image", "size": 16, "samples": 64, "val": 32}],
    "tokenizers": [
        {"recipe": "kl-vae", "downsample": 4, "tsr": 12, "width": 8},
        {"recipe": "vq-vae", "downsample": 4, "codebook_size": 64, "grid": {"training": {"lr": [1e-3, 1e-4]}}},
    ],
    "tasks": ["reconstruction", "generation"],
    "seeds": [0, 1],
    "training": {"steps": 60, "batch_size": 8, "betas": [0.9, 0.99]},
    "prior": {"training": {"steps": 10}, "flow": {"width": 16, "layers": 1, "attention_heads": 2}},
    "generation": {"samples": 32},
}

HOSTILE: list[Any] = [
    *(0, -1, 1, 2, 3, 7, 10**6, 2**31, 2**53, 2**63, 10**18, 10**400, -(10**30)),
    *(0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
    *(True, False, "", " ", "x", "..", ".", "/", "a/b", "a\x00b", "\x1b[2J", "\u202egnp", "²", "é" * 200, "x" * 5000),
    *("[red]", "[/x]", "=cmd()", "$\\frac{$", "kl-vae", "image", "folder", "torchvision:LSUN", "torchvision:CIFAR10"),
    *([], [[]], [0, 0], [1, "x"], {}, {"x": 1}, {"": {}}, [None] * 0, list(range(300)), [{"recipe": "pca"}]),
]
KEYS = [
    "",
    " ",
    "x",
    "recipe",
    "kind",
    "name",
    "tsr",
    "grid",
    "seed",
    "path",
    "²",
    "\x1b",
    "a.b",
    "é",
    "k" * 300,
    "__class__",
]
TEXTS = [
    "",
    "=",
    "[[[",
    "a = [" * 2000,
    f"seeds = [1{'0' * 5000}]",
    "name = 2024-01-01",
    "name = '''\n'''",
    "\ufeffname = 'x'",
    "a.b.c.d = 1\na = 2",
    "x = 0x" + "f" * 4000,
]
SETS = [
    "tokenizers.²=1",
    "tokenizers.9=1",
    "=",
    "a",
    ".=1",
    "..=1",
    "data..size=3",
    "data.size.x=3",
    "seeds=[",
    "data.path=/nonexistent",
    "data.path=2024-01-01",
    "data.source=folder",
    "tokenizers.recipe=kl-vea",
    "tokenizers.0={recipe='pca'}",
    f"seeds=1{'0' * 6000}",
    "x." * 2000 + "y=1",
    f"seeds={'[' * 3000}",
]
ARGUMENTS = [
    ["plan"],
    ["plan", "x" * 300],
    ["plan", "x" * 300 + ".toml"],
    ["plan", "/dev/null/x.toml"],
    ["plan", "\udcff.toml"],
    ["plan", "qiuck"],
    ["plan", "quickstart", "--set"],
    ["plan", "quickstart", "--import", "no_such_module"],
    ["plan", "quickstart", "--import", "x" * 300 + ".py"],
    ["run", "quickstart", "--out", ""],
    ["run", "quickstart", "--engine", "loacl"],
    ["run", "quickstart", "--devices", "cuda:99"],
    ["run", "quickstart", "--jobs-per-device", "²"],
    ["run", "quickstart", "--jobs-per-device", "9" * 5000],
    ["run", "quickstart", "--checkpoint-seconds", "nan"],
    ["leaderboard", "x" * 300],
    ["leaderboard", "."],
    ["leaderboard", ".", "--where", "=" * 999],
    ["plot", ".", "--x", "a", "--y", "b" * 999],
    ["gallery", "\x1b[2J"],
    ["list", "\u202e"],
    ["\x1b]0;x\x07"],
]


@dataclass(frozen=True)
class Verdict:
    """How a case went: "plan", "refused", or what is wrong with it."""

    case: int
    outcome: str
    said: str


def run(cases: int, seed: int, folder: Path) -> list[Verdict]:
    """The verdicts on `cases` cases; the n-th is the same whatever `cases` is."""
    return [judge(case, random.Random(f"{seed} {case}"), folder) for case in range(cases)]


def judge(case: int, draw: random.Random, folder: Path) -> Verdict:
    """Make one case and have it planned."""
    argv = _case(draw, folder)
    out, err = io.StringIO(), io.StringIO()
    started = time.monotonic()
    before = signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
    except SystemExit as ended:
        code = int(ended.code or 0) if not isinstance(ended.code, str) else 1
    except BaseException as error:
        trace = traceback.format_exc().splitlines()
        return Verdict(case, "hang" if isinstance(error, TimeoutError) else "traceback", f"{argv!r:.300} {trace[-3:]}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = err.getvalue()
    if code == 0:
        return Verdict(case, "plan", "")
    lines = said.splitlines()
    if code != 2:
        return Verdict(case, f"exit {code}", f"{argv!r:.300}")
    if len(lines) != 1 or len(lines[0]) >= 300 or not lines[0].isprintable():
        return Verdict(case, "not one inert line under 300 characters", repr(said)[:600])
    if not any(place in said for place in (*PLACES, str(folder))):
        return Verdict(case, "names no place", said)
    return Verdict(case, "refused", f"{time.monotonic() - started:.1f} {said}")


PLACES = (".toml", "--", "recipe", "argument", "suite", "data", "folder", "records", "x" * 99)


def _hangs(*_: Any) -> None:
    raise TimeoutError


def _case(draw: random.Random, folder: Path) -> list[str]:
    sort = draw.choice(["suite"] * 6 + ["text", "set", "set", "recipe", "recipe", "arguments"])
    path = folder / "fuzz.toml"
    suite = copy.deepcopy(BASE)
    if sort == "arguments":
        return list(draw.choice(ARGUMENTS))
    if sort == "text":
        _write(path, draw.choice([*TEXTS, _cut(draw, toml(suite))]))
        return ["plan", str(path)]
    sets = []
    if sort == "suite":
        for _ in range(draw.choice([1, 1, 1, 2, 4])):
            _spoil(draw, suite)
    elif sort == "set":
        sets = [
            draw.choice([*SETS, f"{_key(draw, suite)}={_value(draw.choice(HOSTILE))}"])
            for _ in range(draw.randint(1, 2))
        ]
    else:
        suite["tokenizers"] = [{"recipe": str(_recipe(draw, folder))}]
    _write(path, toml(suite))
    return ["plan", str(path), *(part for change in sets for part in ("--set", change))]


def _recipe(draw: random.Random, folder: Path) -> Path:
    path = folder / "recipe.toml"
    base: dict[str, Any] = {"base": draw.choice(recipe_names()), "title": "t", "downsample": 4, "losses": {"l1": 1.0}}
    how = draw.randrange(5)
    if how == 0:
        base["base"] = str(path)
    elif how == 1:
        links = [folder / f"chain{i}.toml" for i in range(100)]
        for one, other in pairwise(links):
            _write(one, toml({"base": str(other)}))
        _write(links[-1], toml({"base": "kl-vae"}))
        base["base"] = str(links[0])
    else:
        _spoil(draw, base)
    _write(path, draw.choice(TEXTS) if how == 2 else toml(base))
    return path


def _spoil(draw: random.Random, table: Any) -> None:
    """Change one thing somewhere below `table`."""
    spots = list(_spots(table))
    container, key = draw.choice(spots)
    change = draw.randrange(4)
    if change == 0 and isinstance(container, dict):
        container[draw.choice(KEYS)] = container.pop(key)
    elif change == 1 and isinstance(container, dict):
        container[draw.choice(KEYS)] = copy.deepcopy(draw.choice(HOSTILE))
    elif change == 2:
        del container[key]
    else:
        container[key] = copy.deepcopy(draw.choice(HOSTILE))


def _spots(node: Any) -> list[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
    return [(node, key) for key in keys] + [spot for key in keys for spot in _spots(node[key])]


def _key(draw: random.Random, suite: dict[str, Any]) -> str:
    parts: list[str] = []
    node: Any = suite
    while isinstance(node, dict | list) and node and (not parts or draw.random() < 0.8):
        part = draw.choice(list(node) if isinstance(node, dict) else list(range(len(node))))
        node = node[part]
        parts.append(str(part))
    return ".".join(parts)


def _cut(draw: random.Random, text: str) -> str:
    place = draw.randrange(len(text))
    return (
        text[:place] + draw.choice(["", "\x00", "\x1b", "]", "{", "\u202e", "'"]) + text[place + draw.randint(0, 9) :]
    )


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def toml(table: dict[str, Any]) -> str:
    """`table` as TOML, whatever it holds."""
    return "".join(f"{_value(key)} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in value) + '"'
    return repr(value)


def report(verdicts: list[Verdict], say: Callable[[str], None] = print) -> int:
    """Print a count of each outcome and the cases that went wrong; returns how many did."""
    wrong = [verdict for verdict in verdicts if verdict.outcome not in ("plan", "refused")]
    for verdict in wrong:
        say(f"case {verdict.case}: {verdict.outcome}: {verdict.said}")
    say(", ".join(f"{count} {outcome}" for outcome, count in Counter(v.outcome for v in verdicts).most_common()))
    return len(wrong)


if __name__ == "__main__":
    os.chdir(home := tempfile.mkdtemp())
    os.environ["LATENTBENCH_CACHE"] = home
    numbers = [int(argument) for argument in sys.argv[1:]]
    started_at = time.monotonic()
    failures = report(run(numbers[0] if numbers else 1000, numbers[1] if len(numbers) > 1 else 0, Path(home)))
    print(f"{time.monotonic() - started_at:.0f} s")
    sys.exit(1 if failures else 0)
