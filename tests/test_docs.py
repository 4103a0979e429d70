"""README.md and docs/*.md keep their word: commands are known and run, files load, code runs, links lead somewhere.

Heavy commands are run in a cheap form (`run` as `plan`, or with one step). A command that `RULES` does not know fails.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import latentbench.bench
from latentbench.bench import cli
from latentbench.bench.datasets import open_dataset
from latentbench.bench.plan import make_plan
from latentbench.bench.presets import load_preset
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import _EntryHead, _Top, load_suite, suite_names
from latentbench.results.rows import rows
from latentbench.results.store import Store
from latentbench.tasks.config import (
    ClosedFormTaskConfig,
    EvaluationConfig,
    GenerationConfig,
    ModelabilityConfig,
    ProbesConfig,
    ReconstructionConfig,
)
from latentbench.tasks.nets.config import EncoderConfig
from latentbench.tasks.priors.ar_config import ARConfig
from latentbench.tasks.priors.flow_config import FlowConfig
from latentbench.tokenizers.adapters.config import ADAPTERS
from latentbench.tokenizers.recipe import recipe_names
from latentbench.tokenizers.training import TrainingConfig

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "tests" / "perf" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
SHELL = ("sh", "bash", "console", "shell")

# Pages whose Python examples another test runs.
ELSEWHERE = {
    "docs/adapters.md": "tests/bench/test_evaluation.py",
    "docs/auxiliary.md": "tests/tokenizers/test_docs.py",
    "docs/backbones.md": "tests/tokenizers/test_docs.py",
    "docs/bottlenecks.md": "tests/tokenizers/test_docs.py",
    "docs/codecs.md": "tests/tokenizers/test_docs.py",
    "docs/closed_forms.md": "tests/tasks/test_closed_form.py",
    "docs/corruptions.md": "tests/tokenizers/test_docs.py",
    "docs/datasets.md": "tests/bench/datasets/test_docs.py",
    "docs/engines.md": "tests/bench/engines/test_interface.py",
    "docs/sinks.md": "tests/bench/sinks/test_interface.py",
    "docs/diffusion_decoders.md": "tests/tokenizers/test_docs.py",
    "docs/losses.md": "tests/tokenizers/test_docs.py",
    "docs/metrics.md": "tests/tasks/metrics/test_interface.py",
    "docs/nets.md": "tests/tasks/nets/test_page.py",
    "docs/priors.md": "tests/tasks/priors/test_interface.py",
    "docs/proxies.md": "tests/tasks/proxies/test_interface.py",
    "docs/scrambles.md": "tests/tokenizers/scrambles/test_tokenizer.py",
    "docs/sequence_coding.md": "tests/tokenizers/test_docs.py",
    "docs/regularisers.md": "tests/tokenizers/test_docs.py",
    "docs/systems.md": "tests/tasks/probes/test_interface.py",
    "docs/tokenizers.md": "tests/tokenizers/test_docs.py",
}

# The quickstart with one step, fewer and smaller data, and two tokenizers: enough for its records' shape.
TINY = {
    "name": "quickstart",
    "data": [
        {"name": "shapes", "size": 16, "samples": 32, "val": 16},
        {"name": "sounds", "modality": "waveform", "sample_rate": 8000, "seconds": 0.128, "samples": 32, "val": 16},
    ],
    "tokenizers": [{"recipe": "pca", "channels": 4}, {"recipe": "vq-vae", "modalities": ["image"], "width": 8}],
    "training": {"steps": 1, "batch_size": 4},
    "features": ["scattering"],
    "prior": {"training": {"steps": 1, "batch_size": 4}, "flow": {"steps": 1, "layers": 1}, "ar": {"layers": 1}},
    "reconstruction": {"keep": 2},
    "generation": {"samples": 8},
}
ONE_STEP = (
    "training.steps=1",
    "encoder.training.steps=1",
    "seeds=[0]",
    'tasks=["reconstruction"]',
    "data.per_file=4",
    "tokenizers.0.grid={tsr=[12]}",
    "tokenizers.1.grid={bottleneck.beta=[1e-4]}",
)


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """Fenced blocks as (language, text, line of the fence)."""
    result, language, start, lines = [], None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, start, lines = line[3:].strip(), number, []
        else:
            result.append((language, "\n".join(lines) + "\n", start))
            language = None
    assert language is None, f"{page}: a block is left open"
    return result


def place(page: Path, line: int) -> str:
    return f"{page.relative_to(ROOT)}:{line}"


def every(*languages: str) -> list[Any]:
    """Blocks of these languages on all pages, as parameters."""
    return [
        pytest.param(page, text, id=place(page, line))
        for page in PAGES
        if page.exists()
        for language, text, line in blocks(page)
        if language in languages
    ]


def commands() -> list[Any]:
    """Every command of every shell block, once."""
    result: dict[str, str] = {}
    for page in PAGES:
        for language, text, line in blocks(page) if page.exists() else []:
            if language not in SHELL:
                continue
            lines = text.replace("\\\n", " ").splitlines()
            for offset, command in enumerate(lines, 1):
                command = command.strip()
                if language == "console":
                    if not command.startswith("$ "):
                        continue  # output
                    command = command[2:]
                if command and not command.startswith("#"):
                    result.setdefault(command, place(page, line + offset))
    return [pytest.param(command, id=f"{where} {command}") for command, where in result.items()]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the pages take for granted: photos, clips, sounds, their suite files, runs/quickstart."""
    folder = tmp_path_factory.mktemp("workspace")
    random = np.random.default_rng(0)
    _photos(folder / "photos", random)
    _clips(folder / "clips", random)
    _sounds(folder / "sounds", random)
    for page in PAGES:
        for language, text, _ in blocks(page) if page.exists() else []:
            named = re.match(r"# ([\w-]+\.(?:toml|py))\n", text)
            if language in ("toml", "python") and named:
                (folder / named[1]).write_text(text)
    # A reader's own parts, which the pages import; what is in such files is tested where they are shown.
    (folder / "my_package").mkdir()
    for name in ("sign.py", "my_package/__init__.py", "my_package/priors.py"):
        (folder / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTBENCH_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        run_suite(TINY, engine="inline")
        yield folder


def _photos(folder: Path, random: np.random.Generator) -> None:
    import torch
    from torchvision.io import write_png

    folder.mkdir()
    for i in range(6):
        pixels = random.integers(0, 256, (3, 12, 16)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
        write_png(torch.from_numpy(pixels), str(folder / f"{i}.png"))


def _clips(folder: Path, random: np.random.Generator) -> None:
    import av

    folder.mkdir()
    for i in range(5):
        with av.open(str(folder / f"{i}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=8)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
            for picture in random.integers(0, 256, (50, 48, 64, 3), dtype=np.uint8):
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0"))
                )
            container.mux(stream.encode(None))


def _sounds(folder: Path, random: np.random.Generator) -> None:
    import wave

    folder.mkdir()
    for i in range(5):
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((random.standard_normal(16000) * 3000).astype("<i2").tobytes())


def _as_is(argv: list[str]) -> None:
    assert cli.main(argv) == 0


def _planned(argv: list[str]) -> None:
    """`run` as `plan`; the folders that it names are really read. Generated sets are tests/bench/datasets's."""
    arguments = cli._parser().parse_args(argv)
    sets = [part for change in arguments.sets for part in ("--set", change)]
    imports = [part for module in arguments.imports for part in ("--import", module)]
    assert cli.main(["plan", arguments.suite, *sets, *imports]) == 0
    for data in load_suite(arguments.suite, arguments.sets).data:
        if data.path:
            opened = open_dataset(data)
            assert min(len(opened.train), len(opened.val)) > 0


def _one_step(argv: list[str]) -> None:
    changes = [part for change in ONE_STEP for part in ("--set", change)]
    assert cli.main([*argv, *changes, "--out", "runs/one", "--engine", "inline"]) == 0


def _set_up(argv: list[str]) -> None:
    assert argv[:4] == ["python3", "-m", "venv", ".venv"]
    chosen = argv[argv.index("-c") + 1]
    assert (ROOT / chosen).is_file()
    assert argv[-2:] == ["run", "quickstart"]  # which another command of the page plans


def _shared(argv: list[str]) -> None:
    """The run is done already: its plan is written, and nothing is left for those who join."""
    options = cli._parser().parse_args(argv)
    assert run_suite(TINY, out=options.out, engine=options.engine, plan_only=options.plan_only).finished == 0


# Suites of the tutorials in their smallest form: that they run, and that their commands read what they leave.
# Priors are trained in the first one alone, whose table is sorted by what they generate.
SMALLEST = (
    *(f"{part}training.steps=1" for part in ("", "encoder.", "prior.")),
    *("data.samples=32", "data.val=16", "reconstruction.keep=2", "generation.samples=8", 'features=["scattering"]'),
    *("prior.flow.layers=1", "prior.flow.steps=1", "prior.ar.layers=1"),
)
WITHOUT_PRIORS = ('tasks=["reconstruction"]', "features=[]")


def _tutorial(argv: list[str]) -> None:
    """A tutorial's command on its suite, which is run in its smallest form before the first that reads it."""
    name = next(Path(word).stem for word in argv if re.match(r"(runs/)?\w+", word) and word != argv[0])
    if argv[0] == "plan":
        _as_is(argv)
    elif not Path("runs", name).is_dir():
        sets = SMALLEST if name == "tutorial" else (*SMALLEST, *WITHOUT_PRIORS)
        changes = [word for change in sets for word in ("--set", change)]
        _as_is(["run", f"{name}.toml", "--engine", "inline", *changes])
    if argv[0] not in ("plan", "run"):
        _as_is(argv)


def _reported(argv: list[str]) -> None:
    """A report brings its libraries along, where they are installed."""
    pytest.importorskip("plotly")
    pytest.importorskip("itables")
    _as_is(argv)


def _calibrated(argv: list[str]) -> None:
    """A table of six tokenizers with the columns that the command names; one of the repository as it is."""
    if (ROOT / argv[1]).is_file():  # by one proxy: by all it takes half a minute
        command = [str(ROOT / word) if word.endswith(".csv") else word for word in argv]
        assert cli.main([*command, "--proxies", "cfd_best_scattering"]) == 0
        return
    lines = ["# outcome: gfid", "name,family,gfid,psnr,viv,probe_acc,earned_gfd_scattering"]
    lines += [f"t{i},{'ab'[i % 2]},{10 + i * i},{20 + i},{1 + i % 3},{5 - i},yes" for i in range(6)]
    Path(argv[1]).write_text("\n".join(lines))
    assert cli.main(argv) == 0


def _calibrated_runs(argv: list[str]) -> None:
    """The suite is shipped and its cells have priors; tests/results/calibration runs the command on records."""
    for folder in cli._parser().parse_args(argv).sources:
        suite = load_suite(folder.name)
        assert len(make_plan(suite, {data.label: "" for data in suite.data}).cells) >= 3
        assert "generation" in suite.tasks


def _scored(argv: list[str]) -> None:
    """tests/results/calibration runs the command on records; here its words are read."""
    cli._parser().parse_args(argv)


def _judged(argv: list[str]) -> None:
    """Claims of a statement's suite, run in its smallest form; of suites on folders the words are read."""
    folders = cli._parser().parse_args(argv).dirs
    assert all(load_suite(folder.name).claims for folder in folders)
    if any(load_suite(folder.name).data[0].kind == "folder" for folder in folders):
        return
    for folder in folders:
        if not folder.is_dir():
            changes = [word for change in (*SMALLEST, "seeds=[0]", "probes.samples=16") for word in ("--set", change)]
            _as_is(["run", folder.name, "--engine", "inline", *changes])
    _as_is(argv)


def _tox(argv: list[str]) -> None:
    assert argv == [".venv/bin/pip", "install", "tox", "&&", ".venv/bin/tox"]
    text = (ROOT / "tox.ini").read_text()
    (names,) = re.findall(r"^env_list = (.*)$", text, flags=re.MULTILINE)
    assert all(f"[testenv:{name}]" in text for name in names.split(", "))


def _editable(argv: list[str]) -> None:
    if argv[-1] == ".[docs]":
        return
    extra, ruff = argv[-2:]
    assert extra == ".[test]"
    assert f"deps = {ruff}" in (ROOT / "tox.ini").read_text()


def _checked(argv: list[str]) -> None:
    """What CI does too; tests do not run the tests."""
    assert Path(argv[0]).parts[:2] == (".venv", "bin")
    if "pytest" not in argv:
        assert "    ruff check .\n    ruff format --check .\n" in (ROOT / "tox.ini").read_text()
    elif "-m" in argv[3:]:
        assert argv[argv.index("-m", 3) + 1] == "not slow"


def _bench(argv: list[str]) -> None:
    """A bench is there, compiles, and has the options that the page gives it. It is run by hand."""
    script, *options = [word for word in argv if word not in ("python", "-P") and "=" not in word]
    source = (ROOT / script).read_text()
    compile(source, script, "exec")
    for option in options:
        known = not option.startswith("-") or re.search(rf"\b{option.strip('-')}\b", source)
        assert known, f"{script} knows no {option}"


def _evaluated(argv: list[str]) -> None:
    """The options exist, and so does the adapter or the recipe; the folders are the reader's."""
    named = cli._parser().parse_args(argv).tokenizer.partition(":")[0]
    assert named in ADAPTERS or named in recipe_names()


def _updater(argv: list[str]) -> None:
    assert (ROOT / argv[1]).is_file()


def _peers(argv: list[str]) -> None:
    """A peer to install is one that a bench imports."""
    benches = "".join(path.read_text() for path in (ROOT / "tests" / "perf").glob("*.py"))
    for name in argv[2:]:
        package = re.split(r"[=<>]", name)[0].replace("-", "_")
        assert re.search(rf"^\s*(from|import) {package}\b", benches, flags=re.MULTILINE), f"no bench imports {package}"


def _rate_distortion(argv: list[str]) -> None:
    """Commands on the run of `rate-distortion.toml`, after its codecs have coded noise."""
    if not Path("runs/rate-distortion").is_dir():
        suite = tomllib.loads(Path("rate-distortion.toml").read_text())
        suite["data"]["path"] = "sounds"
        suite["tokenizers"] = [entry for entry in suite["tokenizers"] if entry["recipe"] in ("opus", "dct")]
        run_suite(suite, engine="inline")
    assert cli.main(argv) == 0


RULES: list[tuple[str, Callable[[list[str]], None]]] = [
    (r"latentbench (leaderboard|bd-rate|plot) runs/rate-distortion\b", _rate_distortion),
    # as the commands on runs/rate-distortion, which are run
    (r"latentbench (plot|bd-rate) runs/video-codec-vs-learned\b", lambda argv: cli._parser().parse_args(argv)),
    (
        r"latentbench plot runs/latent-vs-signal\b",
        lambda argv: _as_is([argv[0], "runs/quickstart", *argv[2:], "--where", "modality=image"]),
    ),
    (r"latentbench \w+ (runs/)?(tutorial|beeps|moving|mine)\b", _tutorial),
    (r"latentbench check python:mine\.py:", lambda argv: _as_is([*argv, "--engine", "inline"])),
    (r"latentbench (leaderboard runs/candidates|plan \S+) --score ", _scored),
    (r"latentbench (plan|leaderboard|plot|gallery|list|statistics|publish|merge)\b", _as_is),
    (r"latentbench doctor$", lambda argv: cli._parser().parse_args(argv)),  # tests/bench/test_doctor.py runs it
    (r"latentbench report\b", _reported),
    (r"latentbench calibrate \S+\.csv ", _calibrated),
    (r"latentbench calibrate runs/\S+", _calibrated_runs),
    (r"latentbench score \S+\.json runs/", _scored),
    (r"latentbench claims runs/", _judged),
    (r"latentbench (eval|check)\b", _evaluated),
    (r"latentbench run quickstart --engine leases ", _shared),
    (r"latentbench (work|status|gc|export) ", _as_is),
    (r"latentbench slurm quickstart ", lambda argv: cli._parser().parse_args(argv)),
    (r"latentbench run quickstart --engine ray ", lambda argv: cli._parser().parse_args(argv)),
    (r"latentbench run photos\.toml$", _one_step),
    (r"latentbench run quickstart$", lambda argv: _as_is(["plan", "quickstart"])),
    (r"latentbench run systems$", lambda argv: load_suite(argv[1])),  # tests/bench/test_systems.py plans it
    (r"latentbench run \S+", _planned),
    (r"python3 -m venv \.venv && \.venv/bin/pip install ", _set_up),
    (r"\.venv/bin/pip install tox ", _tox),
    (r"(LATENTBENCH_WEIGHTS=\S+ )?python -P tests/perf/", _bench),
    (r"python docs/update_(readme|systems|calibration)\.py", _updater),
    (r"pip install ", _peers),
    (r"python3 -m venv \.venv$", lambda argv: None),  # as in the command above that goes on with it
    (r"\.venv/bin/pip install -c constraints\.txt -e ", _editable),
    (r"\.venv/bin/(python -m pytest|ruff check) ", _checked),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_command(command: str, workspace: Path) -> None:
    for pattern, check in RULES:
        if re.match(pattern, command):
            argv = shlex.split(command)
            check(argv[1:] if argv[0] == "latentbench" else argv)
            return
    pytest.fail(f"no rule says how to try `{command}`; add one to RULES")


def test_commands_were_found() -> None:
    result = [param.values[0] for param in commands()]
    assert any("run quickstart" in command for command in result)
    assert len(result) > 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_in_the_text_exist(page: Path) -> None:
    """Also in inline code and in synopses, which are not run."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`(latentbench [^`\n]+)`", text)
    for _, block, _ in blocks(page):
        spans += re.findall(r"^(?:\$ )?(latentbench .+)$", block, flags=re.MULTILINE)
    known = cli._parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for span in spans:
        name = span.split()[1]
        assert name in known, f"{span}: no such command"  # type: ignore[operator]
        options = known[name]._option_string_actions  # type: ignore[index]
        for option in re.findall(r"(?<![\w-])--[a-z-]+", span):
            assert option in options, f"{span}: {name} has no {option}"


@pytest.mark.slow
@pytest.mark.parametrize(("page", "text"), every("python"))
def test_python(page: Path, text: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(page.relative_to(ROOT))
    if "import evaluate" in text:  # of the page on adapters, wherever it stands
        name = "docs/adapters.md"
    if name in ELSEWHERE:
        other = (ROOT / ELSEWHERE[name]).read_text()
        assert page.name in other, f"{ELSEWHERE[name]} does not run {name}"
        assert "```python" in other or "example(" in other
        return
    real = latentbench.bench.run

    def run(suite: Any, **options: Any) -> Any:
        """As the page's call, in this process: a server of workers takes seconds to import what is here."""
        return real(TINY if suite == "quickstart" else suite, **{"engine": "inline"} | options)

    monkeypatch.setattr(latentbench.bench, "run", run)
    exec(compile(text, name, "exec", dont_inherit=True), {"__name__": "docs"})


@pytest.mark.parametrize(("page", "text"), every("toml"))
def test_toml(page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite, or a part of one, can be planned, a preset loaded; a recipe file is run by its page's own test."""
    table = tomllib.loads(text)
    if "title" in table:
        assert str(page.relative_to(ROOT)) in ELSEWHERE
        return
    if "rounding" in table:
        (tmp_path / "preset.toml").write_text(text)
        assert load_preset(str(tmp_path / "preset.toml")).count
        return
    if "path" in table.get("vocoder", {}):  # a folder of transformers, as far as a plan reads it
        facts = {"model_type": "speecht5_hifigan", "upsample_rates": [4] * 4, "model_in_dim": 80}
        (tmp_path / table["vocoder"]["path"]).mkdir()
        (tmp_path / table["vocoder"]["path"] / "config.json").write_text(json.dumps(facts | {"sampling_rate": 16000}))
        (tmp_path / table["vocoder"]["path"] / "model.safetensors").touch()
        monkeypatch.chdir(tmp_path)
    base = {"name": "docs", "data": {"size": 32}, "tokenizers": [{"recipe": "pca", "channels": 4}]}
    if any("adapter" in entry for entry in table.get("tokenizers", ())):  # whose folders are the reader's
        assert load_suite(base | table).tokenizers
        return
    assert make_plan(load_suite(base | table), {}).cells


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, heading = target.partition("#")
            other = (page.parent / path).resolve() if path else page
            assert other.exists(), f"{page.name} links to {target}, which does not exist"
            assert not heading or heading in _headings(other), f"{page.name} links to {target}: no such heading"


def _headings(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    return anchors | {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    pages = [page for page in PAGES[1:] if page.parent.name != "api" or page.name == "index.md"]
    assert [page.name for page in pages if f"({page.relative_to(ROOT)})" not in text] == []


def test_files_named_in_the_text_exist() -> None:
    code_path = re.compile(r"`((?:bench|tokenizers|tasks|results|tests|docs)/[\w./-]+)`")
    for page in PAGES:
        for name in code_path.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name} names {name}, which does not exist"


SUITES = ROOT / "docs" / "suites.md"


def test_every_key_of_a_suite_is_on_its_page() -> None:
    text = SUITES.read_text()
    words = set(re.findall(r"`\[*([a-z_.]+)\]*`", text)) | set(re.findall(r"\[\[?([a-z_]+)\]", text))
    for schema in (_Top, _EntryHead, TrainingConfig, EncoderConfig):
        assert {field.name for field in fields(schema)} - words == set(), schema.__name__
    for prefix, task in (
        ("evaluation", EvaluationConfig),
        ("reconstruction", ReconstructionConfig),
        ("generation", GenerationConfig),
        ("modelability", ModelabilityConfig),
        ("closed_form", ClosedFormTaskConfig),
        ("probes", ProbesConfig),
    ):
        rows = dict(re.findall(rf"^\| `{prefix}\.(\w+)` \| (.*?) \|", text, flags=re.MULTILINE))
        defaults = {field.name: getattr(task(), field.name) for field in fields(task)}
        assert {name: json.loads(value.strip("`")) for name, value in rows.items()} == {
            name: list(value) if isinstance(value, tuple) else value for name, value in defaults.items()
        }


def test_every_shipped_suite_is_on_its_page() -> None:
    rows = SUITES.read_text().split("## Shipped suites")[1].split("```")[0].splitlines()
    names = [name for row in rows if row.startswith("| `") for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert sorted(names) == suite_names()


def test_the_options_of_priors_on_the_page_are_theirs() -> None:
    (text,) = re.findall(r"^Both of these \[priors\].*?\n\n", SUITES.read_text(), flags=re.DOTALL | re.MULTILINE)
    known = {field.name for config in (ARConfig, FlowConfig) for field in fields(config)}
    options = re.findall(r"`(\w+)` \(", text)
    assert len(options) > 10
    assert [name for name in options if name not in known] == []


def test_training_defaults_on_the_page_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", SUITES.read_text(), flags=re.MULTILINE))
    plain, encoder, ar, flow = TrainingConfig(), EncoderConfig().training, ARConfig().training, FlowConfig().training
    assert rows["steps"] == f"{plain.steps}; prior {ar.steps}; encoder {encoder.steps}"
    assert ar.steps == flow.steps
    assert rows["batch_size"] == f"{plain.batch_size}; encoder {encoder.batch_size}"
    recipe = tomllib.loads((ROOT / "tokenizers/recipes/_conv.toml").read_text())["training"]["lr"]
    numbers = [float(number) for number in re.findall(r"\de-\d", rows["lr"])]
    assert numbers == [plain.lr, recipe, flow.lr, encoder.lr]
    assert ar.lr == recipe
    assert rows["ema"] == f"{plain.ema}; encoder {encoder.ema}"
    assert rows["weight_decay"] == f"{plain.weight_decay:g}; `ar` and encoder {ar.weight_decay}"
    assert ar.weight_decay == encoder.weight_decay
    assert rows["betas"] == f"{[*plain.betas]}; `ar` {[*ar.betas]}"
    assert rows["clip"] == str(plain.clip)


@pytest.fixture
def updater(docs_script: Callable[[str], ModuleType]) -> ModuleType:
    return docs_script("update_readme")


def system_row(claim: str, results: str, id: str = "a1") -> str:
    return f'| <a id="{id}"></a>{id.upper()} A system | `ae` | all | {claim} | {results} |'


def test_an_unfinished_run_of_the_systems_replaces_only_what_it_judges(
    docs_script: Callable[[str], ModuleType],
) -> None:
    merged = docs_script("update_systems").merged
    image, sound = (
        "image: psnr: a above b, by 2 dB, 3 seeds: confirmed",
        "waveform: psnr: a above b, by 1 dB, 3 seeds: x",
    )
    old = system_row("better", f"image: confirmed; waveform: not confirmed<br>{image}<br>{sound}")
    newer = image.replace("by 2", "by 4")
    lines = merged(
        old, system_row("better", f"image: not confirmed<br>{newer}<br>psnr: c above d: not run")
    ).splitlines()
    assert lines[0] == system_row(
        "better", f"image: not confirmed; waveform: not confirmed (earlier)<br>{newer}<br>{sound}"
    )
    assert "(earlier)" in lines[-1], "and the page says what that means"
    few = system_row("better", f"image: not confirmed; waveform: not run<br>{newer.replace('3 seeds', '1 seed')}")
    once = merged(old, few)
    assert once.splitlines()[0] == system_row(
        "better", f"image: confirmed (earlier); waveform: not confirmed (earlier)<br>{image}<br>{sound}"
    )
    assert merged(once, few) == once
    assert merged(old, system_row("better", "not run")) == once
    assert merged(old, system_row("worse", "not run")) == system_row("worse", "not run"), "another claim than it was"
    all_of_it = system_row("better", f"image: confirmed; waveform: confirmed<br>{image}<br>{sound}")
    assert merged(once, all_of_it) == all_of_it
    same = merged(old, few, same=True)
    assert same == old, "of the same version nothing is marked"
    assert merged(once, few, same=True) == once, "what was marked before stays so"
    other = system_row("better", "image: gfd_x 3.2 (ar on vq-vae)<br>video: gfd_x 5 (ar on fsq)", "c2")
    assert merged(system_row("better", "not run", "c2"), other) == other
    clips = system_row("better", "video: gfd_x 4 (ar on fsq)", "c2")
    assert merged(other, clips, same=True) == system_row(
        "better", "image: gfd_x 3.2 (ar on vq-vae)<br>video: gfd_x 4 (ar on fsq)", "c2"
    )
    assert "image: gfd_x 3.2 (ar on vq-vae) (earlier)<br>video: gfd_x 4 (ar on fsq) |" in merged(other, clips)
    assert merged(other, system_row("better", "not run", "c2"), same=True) == other


def test_statements_of_folders_are_told_where_all_of_them_were_run(
    tmp_path: Path, docs_script: Callable[[str], ModuleType]
) -> None:
    systems = docs_script("update_systems")
    begin, end = systems.OF_FOLDERS
    page = f"before\n{begin}\nold\n{end}\nafter"
    claim = {
        "id": "F1",
        "name": "Equal",
        "claim": "as good",
        "comparisons": [{"metric": "psnr", "left": "a", "relation": "above", "right": "b"}],
    }
    for suite in systems.SUITES:
        assert systems.with_statements(page, tmp_path) == page
        Store(tmp_path / suite).write_suite(suite, [], claims=[claim])
    told = systems.with_statements(page, tmp_path)
    assert told.startswith(f"before\n{begin}\n| suite | id |")
    assert told.endswith(f"{end}\nafter")
    assert "| statements-video | F1 | Equal | as good | not run | psnr: a above b: not run (no such cells) |" in told
    assert systems.block(told, begin, end)[0] == "before\n"


def test_a_merged_page_counts_its_comparisons(docs_script: Callable[[str], ModuleType]) -> None:
    systems = docs_script("update_systems")
    image, sound = (f"{name}: psnr: a above b, by 2 [1, 3] dB, 3 seeds: confirmed" for name in ("image", "waveform"))
    equal = "image: tsr: a equal to b, by 0 [0, 0], 3 seeds: confirmed"
    told = "records: runs. Comparisons tested: 1, each with an interval of its own."
    old = system_row("better", f"image: confirmed; waveform: confirmed<br>{image}<br>{sound}<br>{equal}")
    lines = systems.merged(
        old, f"{system_row('better', f'image: confirmed<br>{image}<br>{equal}')}\n\n{told}", same=True
    )
    assert lines.splitlines()[-1] == told.replace("tested: 1", "tested: 2")


@pytest.mark.slow
def test_the_readmes_tables_are_made_from_records(updater: ModuleType, workspace: Path) -> None:
    content = updater.quickstart(workspace / "runs" / "quickstart")
    assert "**shapes (image)**" in content
    assert "**sounds (waveform)**" in content
    assert content.count("| pca ") == 2
    record = next(iter(Store(workspace / "runs" / "quickstart").iterate()))
    assert record.run["versions"]["torch"] in content.splitlines()[-1]
    page = updater.replaced((ROOT / "README.md").read_text(), "quickstart", content)
    assert updater.replaced(page, "quickstart", content) == page
    assert content in page
    assert "rFD scattering" in content
    assert "SI-SDR" in content


@pytest.mark.slow
def test_one_command_remakes_the_readme(
    updater: ModuleType, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block and both pictures, without an edit by hand; what is said of the cells is true of them."""
    monkeypatch.setattr(updater, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text())
    updater.main(workspace / "runs" / "quickstart")
    page = (tmp_path / "README.md").read_text()
    images = [row for row in rows([workspace / "runs" / "quickstart"]) if row["modality"] == "image"]
    clear, near = max(images, key=lambda row: row["psnr"]), min(images, key=lambda row: row["gfd_scattering"])
    (said,) = re.findall(r"^\*Which of these.*$", page, flags=re.MULTILINE)
    for row in (clear, near):
        assert f"`{row['label']}` at TSR {row['tsr']:.4g}" in said
    assert f"{clear['psnr']:.1f} dB" in said
    assert f"{near['gfd_scattering']:.3g}" in said
    assert page.count("(docs/quickstart.png)") == page.count("(docs/quickstart.svg)") == 1
    picture = tmp_path / "docs" / "quickstart.png"
    assert 1000 < picture.stat().st_size < 300_000
    assert (tmp_path / "docs" / "quickstart.svg").read_text().count("gfd_scattering") >= 1
    updater.main(workspace / "runs" / "quickstart")
    assert (tmp_path / "README.md").read_text() == page


def test_the_readme_lists_what_is_shipped(updater: ModuleType) -> None:
    page = (ROOT / "README.md").read_text()
    assert updater.replaced(page, "systems", updater.systems()) == page, "run python docs/update_readme.py"


def test_the_readme_has_its_markers_once(updater: ModuleType) -> None:
    assert updater.replaced((ROOT / "README.md").read_text(), "quickstart", "x").count("\nx\n") == 1
    with pytest.raises(ValueError, match="one"):
        updater.replaced("no markers", "quickstart", "x")


def test_python_here_is_new_enough_for_the_quickstart() -> None:
    code_path = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert code_path == ">=3.11"
    assert "Python 3.11 or newer" in (ROOT / "README.md").read_text()
    assert sys.version_info >= (3, 11)
