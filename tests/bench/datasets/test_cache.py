from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import DataConfig, damage_of_cached, entry, fingerprint, open_dataset
from latentbench.bench.datasets import cache as cache_module
from latentbench.bench.datasets.cache import Cache, default_cache
from latentbench.results.errors import UserError

SMALL = DataConfig(samples=50, val=10, size=16)


def entries(cache: Path) -> set[str]:
    return {path.parent.name for path in (cache / "datasets").glob("*/meta.json")}


def leftovers(cache: Path) -> list[Path]:
    return list((cache / "datasets").glob(".*"))


def test_decoded_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_dataset(SMALL, cache=cache)
    monkeypatch.setattr("latentbench.bench.datasets.store.build", lambda *_: pytest.fail("decoded again"))
    again = open_dataset(SMALL, cache=cache)
    everything = np.arange(50)
    cpu = torch.device("cpu")
    assert torch.equal(first.train.batch(everything, cpu), again.train.batch(everything, cpu))
    assert leftovers(cache) == []


@pytest.mark.slow
def test_two_processes_decode_once(cache: Path) -> None:
    code = (
        "import os, time; import latentbench.bench.datasets.procedural as p; original = p.parts\n"
        "def slow(*a):\n    time.sleep(0.3); os.write(1, f'{os.getpid()} decodes\\n'.encode()); return original(*a)\n"
        "p.parts = slow\n"
        "from pathlib import Path; from latentbench.bench.datasets import DataConfig, open_dataset\n"
        "child = os.fork()\n"  # after the imports, which take longer than all else
        f"open_dataset(DataConfig(samples=50, val=10, size=16), cache=Path({str(cache)!r}))\n"
        "os.write(1, b'opened\\n')\n"  # at once, or two processes' lines may mix
        "assert child == 0 or os.waitpid(child, 0)[1] == 0"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True, check=True, timeout=120
    )
    lines = done.stdout.splitlines()
    decoders = [line for line in lines if line.endswith(" decodes")]
    assert (len(decoders), len(set(decoders)), lines.count("opened")) == (2, 1, 2)


def test_least_recently_used_goes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 60 images of 768 bytes an entry: room for two and a half.
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", "0.000120")
    monkeypatch.setattr(cache_module, "_STEP", 1)
    configs = [DataConfig(samples=50, val=10, size=16, seed=seed) for seed in range(3)]
    keys: list[str] = []
    for config in configs[:2]:
        open_dataset(config, cache=cache)
        keys += entries(cache) - set(keys)
    for key in keys:
        os.utime(cache / "datasets" / key, (1, 1))
    open_dataset(configs[0], cache=cache)
    open_dataset(configs[2], cache=cache)
    assert len(entries(cache)) == 2
    assert keys[0] in entries(cache)
    assert keys[1] not in entries(cache)


def test_entry_larger_than_the_bound(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_dataset(SMALL, cache=cache)
    earlier = entries(cache)
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", "0.0001")
    with pytest.raises(UserError, match=r"LATENTBENCH_CACHE_GB=0\.0001; take data\.stream .*data\.samples.*or raise"):
        open_dataset(DataConfig(samples=500, val=10, size=16), cache=cache)
    assert entries(cache) == earlier
    assert leftovers(cache) == []


def test_an_open_entry_survives_its_eviction(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(SMALL, cache=cache)
    before = data.train.batch(np.arange(50), torch.device("cpu"))
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", str(60 * 768 / 1e9 + 1e-5))
    open_dataset(DataConfig(samples=50, val=10, size=16, seed=1), cache=cache)
    assert len(entries(cache)) == 1
    assert torch.equal(before, data.train.batch(np.arange(50), torch.device("cpu")))


def test_full_disk_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("latentbench.bench.datasets.store._append", full)
    with pytest.raises(UserError, match=r"the disk under .* is full"):
        open_dataset(SMALL, cache=cache)
    assert entries(cache) == set()
    assert leftovers(cache) == []


def test_unwritable_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't be written.*LATENTBENCH_CACHE"):
        open_dataset(SMALL, cache=tmp_path / "file" / "cache")
    with pytest.raises(UserError, match="can't be written"):
        open_dataset(SMALL, cache=tmp_path / "file")


def test_interrupted_write_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("latentbench.bench.datasets.store._split", stop)
    with pytest.raises(KeyboardInterrupt):
        open_dataset(SMALL, cache=cache)
    assert leftovers(cache) == []
    monkeypatch.undo()
    assert len(open_dataset(SMALL, cache=cache).train) == 50


def test_draft_of_a_killed_writer_is_swept(cache: Path) -> None:
    dead = cache / "datasets" / ".new-dead"
    dead.mkdir(parents=True)
    (dead / "samples.bin").write_bytes(b"x")
    os.utime(dead, (1, 1))
    open_dataset(SMALL, cache=cache)
    assert not dead.exists()


_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "empty": lambda content: b"",
    "zeroed": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "flipped": lambda content: content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
    "null": lambda content: b"null",
    "deep": lambda content: b"[" * 100_000,
}


@pytest.mark.parametrize("name", ["samples.bin", "labels.npy", "train.npy", "val.npy", "meta.json"])
@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_entry_is_decoded_anew(
    cache: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = open_dataset(SMALL, cache=cache)
    expected = whole.train.batch(np.arange(len(whole.train)), torch.device("cpu"))
    key = entries(cache).pop()
    path = cache / "datasets" / key / name
    content = path.read_bytes()
    path.write_bytes(_DAMAGES[damage](content))
    again = open_dataset(SMALL, cache=cache, fingerprint=whole.fingerprint)
    assert torch.equal(again.train.batch(np.arange(len(again.train)), torch.device("cpu")), expected)
    assert (again.classes, again.counts) == (whole.classes, whole.counts)
    assert path.read_bytes() == content
    said = capsys.readouterr().err
    assert said.startswith(f"{path.parent}: damaged (")
    assert said.count("\n") == 1
    assert leftovers(cache) == []
    open_dataset(SMALL, cache=cache, fingerprint=whole.fingerprint)
    assert capsys.readouterr().err == ""


def test_a_bit_that_rots_unseen_is_noticed_when_a_run_begins(cache: Path) -> None:
    whole = open_dataset(SMALL, cache=cache)
    path = cache / "datasets" / entries(cache).pop() / "samples.bin"
    assert damage_of_cached(SMALL, cache=cache, fingerprint=whole.fingerprint) is None
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(bytes([content[0] ^ 128]))
    entry.remember(path.parent)  # no time of the file has changed
    damage = damage_of_cached(SMALL, cache=cache, fingerprint=whole.fingerprint)
    assert damage == "samples.bin has another digest than was written"
    open_dataset(SMALL, cache=cache, fingerprint=whole.fingerprint)
    assert path.read_bytes() == content
    assert damage_of_cached(SMALL, cache=cache, fingerprint="0" * 64) is None


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "nan"])
def test_bound_must_be_a_positive_number(text: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", text)
    with pytest.raises(UserError, match="LATENTBENCH_CACHE_GB must be a positive number"):
        Cache(cache)


def test_default_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("LATENTBENCH_CACHE", raising=False)
    assert default_cache() == Path("/x/latentbench")
    monkeypatch.setenv("LATENTBENCH_CACHE", "/y")
    assert default_cache() == Path("/y")


def test_with_a_fingerprint_the_source_is_not_looked_at(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = fingerprint(SMALL, cache=cache)
    open_dataset(SMALL, cache=cache, fingerprint=name)
    monkeypatch.setattr("latentbench.bench.datasets._names", lambda *_: pytest.fail("looked at"))
    assert open_dataset(SMALL, cache=cache, fingerprint=name).fingerprint == name


def test_a_fingerprint_of_other_files(cache: Path) -> None:
    with pytest.raises(UserError, match="have changed since the run was planned"):
        open_dataset(SMALL, cache=cache, fingerprint="0" * 64)
