"""Parts of a user's own: `--import`, `run(imports=...)` and installed packages, in the command and in its workers.

The parts are those of the documentation's pages.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.engines import local
from latentbench.bench.imports import load_imports, refuse_unrepeatable, repeat_imports
from latentbench.bench.runner import run_suite
from latentbench.results.errors import UserError
from latentbench.tokenizers.registry import Registry, recorded_lookups

DOCS = Path(__file__).parents[2] / "docs"


def example(page: str) -> str:
    """The page's example of adding a part."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL)
    return next(block for block in blocks if re.search(r"^\w+\.add\(", block, flags=re.MULTILINE))


Suite = Callable[..., Path]
# The shortest run whose workers build one of the parts; with a prior of them: that of a file.
BRIEF: dict[str, Any] = {"tasks": ["reconstruction"], "features": []}


@pytest.fixture
def suite(tmp_path: Path, as_toml: Callable[[Mapping[str, Any]], str]) -> Suite:
    """Writes a suite of the parts below, with changes."""

    def write(**changes: Any) -> Path:
        table = {
            "name": "own",
            "tasks": ["generation"],
            "data": {"name": "shapes", "size": 16, "samples": 64, "val": 32},
            "tokenizers": [{"recipe": "vq-vae", "bottleneck": {"kind": "sign"}, "channels": 8, "width": 8}],
            "training": {"steps": 2, "batch_size": 8},
            "encoder": {"width": 8, "training": {"steps": 2, "batch_size": 8}},
            "prior": {"name": "independent", "training": {"steps": 2, "batch_size": 8}},
            "generation": {"samples": 32},
        }
        path = tmp_path / "own.toml"
        path.write_text(as_toml(table | changes))
        return path

    return write


def runs(out: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes())["run"] for path in sorted(out.glob(f"jobs/{kind}/*/record.json"))]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A bottleneck and a prior in one file."""
    path = tmp_path / "my_parts.py"
    path.write_text(example("bottlenecks") + "\n\n" + example("priors"))
    return path


@pytest.mark.slow
def test_a_file_of_parts_is_known_to_workers(
    cache: Path,
    tmp_path: Path,
    parts: Path,
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = suite()
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", str(path), "--out", "out", "--set", "prior.name=auto"]) == 2
    error = f"latentbench: {path}: tokenizers[0].bottleneck.kind: unknown bottleneck 'sign'; "
    assert capsys.readouterr().err.startswith(error)
    # What this process has added is not what its workers know: their server is a process of its own.
    assert cli.main(["run", str(path), "--out", "out", "--import", "my_parts.py"]) == 0
    (facts,) = runs(tmp_path / "out", "prior")
    assert re.fullmatch("[0-9a-f]{12}", facts["imports"][str(parts)])
    capsys.readouterr()
    assert cli.main(["plan", str(path), "--import", "my_parts.py"]) == 0
    assert "independent" in capsys.readouterr().out
    assert cli.main(["list", "bottlenecks", "--import", str(parts)]) == 0
    assert "\n  sign" in capsys.readouterr().out


@pytest.mark.slow
def test_a_script_may_import_itself_and_dotted_modules_for_workers(
    latentbench: Any, tmp_path: Path, parts: Path, suite: Suite
) -> None:
    package = tmp_path / "lib" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "quantisers.py").write_text(example("bottlenecks"))
    (package / "everything.py").write_text("from . import quantisers\n\n" + example("priors"))
    # The folder is on this process's path alone, and the script's own part is what the run is measured with.
    changes = BRIEF | {"features": ["thumbnail"]}
    parts.write_text(
        f"import sys\nsys.path.insert(0, {str(package.parent)!r})\n{example('nets')}\n"
        "if __name__ == '__main__':\n    from latentbench.bench import run\n"
        f"    suite = {str(suite(**changes))!r}\n"
        "    print(len(run(suite, out='out', imports=['my_package.everything', __file__])))\n"
    )
    done = latentbench.python(parts, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    (facts,) = runs(tmp_path / "out", "tokenizer")
    assert facts["imports"].keys() == {"my_package.everything", str(parts)}


def test_parts_of_this_process_alone_are_refused_before_anything_is_trained(
    tmp_path: Path, parts: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "Server", None)
    monkeypatch.setattr("latentbench.bench.data_counts.fingerprint", None)
    script = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", script)
    exec(parts.read_text(), script.__dict__)
    with pytest.raises(UserError) as caught:
        run_suite(suite(), out=tmp_path / "out")
    assert str(caught.value) == (
        "bottleneck 'sign' was added by __main__, which workers don't import; put it into a file of its own and pass "
        "--import FILE.py, or run(..., imports=['FILE.py'])"
    )
    assert not (tmp_path / "out").exists()


def test_a_part_counts_as_repeated_if_its_module_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry("thing", "latentbench.none", {"ours": "a:b"})
    monkeypatch.setattr("builtins.things", registry, raising=False)
    for name, text in {"one": "import two\nthings.add('one', 1)", "two": "things.add('two', 2)"}.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    imports = load_imports(["one"])
    registry.add("three", 3)
    used = lambda *names: [(registry, name) for name in names]  # noqa: E731
    refuse_unrepeatable(used("ours", "one", "two"), imports)
    assert (registry.added_by("ours"), registry.added_by("two")) == (None, "two")
    cure = f"pass --import {__name__}, or run\\(..., imports=\\['{__name__}'\\]\\)$"
    with pytest.raises(UserError, match=f"^thing 'three' was added by {__name__}, which workers don't import; {cure}"):
        refuse_unrepeatable(used("ours", "three"), imports)
    with pytest.raises(UserError, match=r"^thing 'one' was added by one, .* pass --import one, "):
        refuse_unrepeatable(used("one"), ())
    with recorded_lookups() as lookups:
        registry.get("one")
    registry.get("three")
    assert lookups == {(registry, "one")}


def test_a_file_that_has_changed_is_refused_by_workers(tmp_path: Path, in_subprocess: Callable[[str], str]) -> None:
    path = tmp_path / "part.py"
    path.write_text("x = 1")
    (imported,) = load_imports([str(path)])
    assert sys.modules[imported.module].x == 1
    repeat_imports([imported])  # here it is imported already
    path.write_text("x = 2")
    repeat_imports([imported])
    code = "from latentbench.bench.imports import *; from latentbench.results.errors import UserError\n"
    code += f"try: repeat_imports([{imported!r}])\nexcept UserError as error: print(error)"
    assert in_subprocess(code) == f"--import {path}: {path} is not what the run was planned with; run it again\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such.py", "no such file"),
        ("folder/", "no such file"),
        ("broken.py", r"ZeroDivisionError: division by zero"),
        ("syntax.py", r"SyntaxError: .*"),
        ("exits.py", "SystemExit: 3"),
        ("no_such.module", r"no module of that name is on Python's path \(PYTHONPATH adds folders\); .* path, FILE.py"),
        ("broken", r"no module of that name is on Python's path .*; --import broken.py"),
        ("latentbench.nothing", "no module of that name .*"),
        (".relative", "TypeError: .*"),
        ("needs.py", "ModuleNotFoundError: No module named 'no_such_dependency'"),
    ],
)
def test_an_import_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    texts = {"broken": "1 / 0", "syntax": "def", "exits": "raise SystemExit(3)", "needs": "import no_such_dependency"}
    for stem, text in texts.items():
        (tmp_path / f"{stem}.py").write_text(text)
    with pytest.raises(UserError, match=f"^--import {re.escape(name)}: {message}$") as caught:
        load_imports([name])
    assert "\n" not in str(caught.value)
    assert not [module for module in sys.modules if module.startswith(("broken_", "syntax_", "exits_", "needs_"))]


@pytest.mark.slow
def test_an_import_that_only_workers_can_t_do_is_one_line(
    cache: Path,
    tmp_path: Path,
    parts: Path,
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    # by its directory, say: here by who it is told to be
    parts.write_text("import sys\nif 'server' in sys.argv[0]: raise OSError('not\\nhere')\n" + parts.read_text())
    assert cli.main(["run", str(suite()), "--out", str(tmp_path / "out"), "--import", str(parts)]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == f"latentbench: in the job server: --import {parts}: OSError: not here"
    assert "Traceback" not in said


# Of an installed package: entry points and the pages that its modules are.
PACKAGE = {
    "latentbench.bottlenecks": ("sign", "bottlenecks", "SignConfig"),
    "latentbench.priors": ("independent", "priors", "IndependentConfig"),
    "latentbench.metrics": ("mae", "metrics", "MeanAbsoluteErrorConfig"),
    "latentbench.proxies": ("sparsity", "proxies", "SparsityConfig"),
    "latentbench.probes": ("cycle", "systems", "CycleConfig"),
    "latentbench.nets": ("thumbnail", "nets", "ThumbnailConfig"),
    "latentbench.datasets": ("sines", "datasets", "Sines"),
    "latentbench.engines": ("one-by-one", "engines", "OneByOne"),
}


def install(folder: Path, points: Mapping[str, tuple[str, str, str]], name: str = "guest") -> Path:
    """A folder like `site-packages` with a package of somebody else's, as installers leave it."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    lines = []
    for group, (entry, page, target) in points.items():
        text = example(page)
        (package / f"{page}.py").write_text(re.split(r"^\w+\.add\(", text, flags=re.MULTILINE)[0])
        lines.append(f"[{group}]\n{entry} = {name}.{page}:{target}\n")
    info = folder / f"{name}_tokenizers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-tokenizers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_an_installed_package_s_parts_are_listed_and_run(
    latentbench: Any,
    tmp_path: Path,
    suite: Suite,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(latentbench.environment, "PYTHONPATH", str(install(tmp_path / "site", PACKAGE)))
    everything = latentbench("list").stdout
    for name, _, _ in PACKAGE.values():
        assert f"\n  {name} " in everything or f"\n  {name}\n" in everything, name
    sounds = {"name": "tones", "source": "sines", "modality": "waveform", "sample_rate": 8000, "seconds": 0.128}
    path = suite(
        data=[
            {"name": "shapes", "size": 16, "samples": 64, "val": 32},
            {**sounds, "samples": 64},
        ],
        tokenizers=[
            {"recipe": "vq-vae", "bottleneck": {"kind": "sign"}, "channels": 8, "width": 8, "data": ["shapes"]},
            {"recipe": "pca", "channels": 4, "data": ["tones"], "tasks": ["reconstruction"]},
        ],
        features=["thumbnail"],
        tasks=["reconstruction", "generation", "modelability", "probes"],
        modelability={"proxies": ["sparsity"]},
        probes={"names": ["cycle"], "samples": 32},
    )
    out = tmp_path / "out"
    done = latentbench("run", path, "--out", out)
    assert done.returncode == 0, done.stderr
    assert cli.main(["leaderboard", str(out), "--columns", "all", "--format", "json"]) == 0
    text = capsys.readouterr().out
    for column in ("mae", "near_zero_share", "cycle_error", "gfd_thumbnail"):
        assert column in text, column
    assert len(list(out.glob("jobs/data/*/record.json"))) == 2


@pytest.mark.slow
def test_a_broken_package_is_named_and_spoils_nothing_else(
    latentbench: Any, tmp_path: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch, mini_file: Path
) -> None:
    site = install(tmp_path / "site", {"latentbench.bottlenecks": PACKAGE["latentbench.bottlenecks"]})
    (site / "guest" / "bottlenecks.py").write_text("import no_such_dependency\n\n\nclass SignConfig:\n    pass\n")
    monkeypatch.setitem(latentbench.environment, "PYTHONPATH", str(site))
    line = (
        "bottleneck 'sign' of the installed package guest-tokenizers can't be imported: "
        "ModuleNotFoundError: No module named 'no_such_dependency'"
    )
    assert line in latentbench("list", "bottlenecks").stdout
    assert latentbench("plan", mini_file).returncode == 0
    done = latentbench("plan", suite(prior={}))
    assert done.returncode == 2
    assert done.stderr == f"latentbench: {tmp_path / 'own.toml'}: tokenizers[0].bottleneck.kind: {line}\n"


def test_a_name_of_ours_can_t_be_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, {"latentbench.things": ("fsq", "proxies", "SparsityConfig")}))
    registry = Registry("thing", "latentbench.things", {"fsq": "a:b"})
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"^thing 'fsq' of the installed package guest-tokenizers: the name is taken$"
        ):
            registry.names()
