from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import pytest

from latentbench.results import record as module
from latentbench.results.canonical import pretty
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, InvalidRecord, Record, parse, plain


def example(**fields: Any) -> Record:
    values: dict[str, Any] = {
        "kind": "reconstruction",
        "key": "0f3a",
        "status": "finished",
        "config": {"b": [1, 2.5], "a": {"name": "é|x"}},
        "depends": ("tokenizer/1c", "latents/2d"),
        "metrics": (
            Metric(name="psnr", value=21.25, se=0.5, interval=(20.0, 22.5), n=4, direction="higher", unit="dB"),
            Metric(name="si_sdr", value=None, missing=3),
        ),
        "extra": {"curve": [0.1, None]},
        "artifacts": {"grid.png": 12},
        "digests": {"grid.png": "0a" * 32},
        "run": {"seconds": 1.5},
    }
    return Record(**{**values, **fields})


GOLDEN = b"""{
  "artifacts": {
    "w.npy": 8
  },
  "config": {
    "rate": 0.1
  },
  "depends": [
    "data/1"
  ],
  "digests": {
    "w.npy": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
  },
  "error": null,
  "extra": {},
  "key": "7",
  "kind": "tokenizer",
  "metrics": [
    {
      "direction": "lower",
      "interval": [
        0.5,
        1.5
      ],
      "missing": 0,
      "n": 2,
      "name": "l1",
      "protocol": "mean",
      "se": 0.25,
      "unit": "",
      "value": 1.0
    }
  ],
  "run": {
    "sha256": "@"
  },
  "schema": 2,
  "status": "finished"
}
"""


# By `sha256sum` of the text with 64 zeros in the digest's place.
GOLDEN = GOLDEN.replace(b"@", hashlib.sha256(GOLDEN.replace(b"@", b"0" * 64)).hexdigest().encode())


def test_bytes_are_pretty() -> None:
    l1 = Metric(name="l1", value=1.0, se=0.25, interval=(0.5, 1.5), n=2, direction="lower", protocol="mean")
    record = Record(
        kind="tokenizer",
        key="7",
        status="finished",
        config={"rate": 0.1},
        depends=("data/1",),
        metrics=(l1,),
        artifacts={"w.npy": 8},
        digests={"w.npy": hashlib.sha256(b"hi").hexdigest()},
    )
    assert record.to_bytes() == GOLDEN
    assert Record.from_bytes(GOLDEN) == record


def test_any_flipped_bit_of_a_record_is_noticed() -> None:
    content = example(run={"seconds": 1e-5, "host": "a", "versions": {"sha256": "ab"}}).to_bytes()
    for place in range(len(content)):
        for bit in range(8):
            flipped = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            with pytest.raises(InvalidRecord):
                Record.from_bytes(flipped)


def test_a_record_of_schema_1_is_brought_up() -> None:
    new = example().to_json()
    old = {name: value for name, value in new.items() if name != "digests"} | {"schema": 1}
    record = Record.from_bytes(pretty(old))
    assert record == example(digests={})
    assert Record.from_bytes(record.to_bytes()) == record
    with pytest.raises(InvalidRecord, match=r"its digest \(run.sha256\) is another"):
        Record.from_bytes(pretty(new))


@pytest.mark.parametrize(
    "record",
    [example(), example(status="failed", error=Failure(type="E", message="m", where="w"))],
    ids=lambda r: r.status,
)
def test_reads_back_what_was_written(record: Record) -> None:
    assert Record.from_bytes(record.to_bytes()) == record
    assert Record.from_bytes(record.to_bytes()).to_bytes() == record.to_bytes()


def test_a_record_cut_short_anywhere_is_invalid() -> None:
    content = example().to_bytes()
    for size in range(len(content)):
        with pytest.raises(InvalidRecord):
            Record.from_bytes(content[:size])


def test_garbled_bytes_are_invalid_or_another_record_but_never_a_crash() -> None:
    content = example().to_bytes()
    for place in range(len(content)):
        garbled = content[:place] + b"\xff" + content[place + 1 :]
        with pytest.raises(InvalidRecord):
            Record.from_bytes(garbled)
    for content in (b"[" * 100_000 + b"\n", b"null\n", b"3\n", b"\x00\n"):
        with pytest.raises(InvalidRecord):
            Record.from_bytes(content)


def changed(**fields: Any) -> dict[str, Any]:
    return {**example().to_json(), **fields}


def psnr(**fields: Any) -> dict[str, Any]:
    return changed(metrics=[{**changed()["metrics"][0], **fields}])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (changed(schema=3), "schema 3 is newer than this version reads"),
        (changed(schema="1"), "schema '1' is no version number"),
        (changed(schema=True), "no version number"),
        ({k: v for k, v in changed().items() if k != "metrics"}, "the record lacks metrics"),
        (changed(colour=1), "^colour: unknown key$"),
        (changed(config=[]), r"^config: input should be an object"),
        (changed(kind="Prior"), "^kind: string should match pattern"),
        (changed(key="a/b"), "^key: string should match pattern"),
        (changed(key=""), "^key: string should match pattern"),
        (changed(status="done"), "^status: input should be 'finished' or 'failed', got 'done'"),
        (changed(status="failed"), "status 'failed' with no error"),
        (changed(error={"type": "E", "message": "m", "where": ""}), "status 'finished' with an error"),
        (changed(status="failed", error={"type": "E"}), "^error.message: missing"),
        (changed(depends=[3]), r"^depends\[0\]: input should be a valid string, got 3"),
        (changed(artifacts={"../x": 1}), "no file inside the job's folder"),
        (changed(artifacts={"/x": 1}), "no file inside the job's folder"),
        (changed(artifacts={"x\n\0y": 1}), "^artifacts.x \0y: "),
        (changed(artifacts={"x\0y": 1}), "no file inside the job's folder"),
        (changed(artifacts={"x\udcff": 1}), "is no text"),
        (changed(digests={"x": "0a"}), "^digests.x: string should match pattern"),
        (changed(artifacts={"x": -1}), "^artifacts.x: input should be greater than or equal to 0, got -1"),
        (changed(metrics=[{}]), r"^metrics\[0\].name: missing"),
        (changed(metrics=changed()["metrics"] * 2), "'psnr' appears twice"),
        (psnr(value="3"), r"^metrics\[0\].value: input should be a valid number, got '3'"),
        (psnr(value=True), r"^metrics\[0\].value: input should be a valid number, got True"),
        (psnr(n=-1), "'psnr' has a negative count"),
        (psnr(n=1.5), r"^metrics\[0\].n: input should be a valid integer"),
        (psnr(interval=[1]), r"^metrics\[0\].interval\[1\]: missing"),
        (psnr(interval=[5, 1]), "'psnr' has an interval that ends before it begins"),
        (psnr(interval=[None, 1]), r"^metrics\[0\].interval\[0\]: input should be a valid number"),
        (psnr(direction="up"), r"^metrics\[0\].direction: input should be 'higher', 'lower' or 'none', got 'up'"),
    ],
)
def test_reasons(data: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRecord, match=reason):
        Record.from_json(data)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e300", f"1{'0' * 400}", "9" * 5000])
@pytest.mark.parametrize("place", ['"seconds": 1.5', "21.25", "22.5", "0.1", '"b": [\n      1,'])
def test_only_numbers_that_can_be_summed_are_read(number: str, place: str) -> None:
    content = example().to_bytes().decode()
    assert content.count(place) == 1
    damaged = content.replace(place, re.sub(r"\d[\d.]*", number, place))
    with pytest.raises(InvalidRecord, match="not JSON, or cut short"):
        Record.from_bytes(damaged.encode())


def test_a_whole_number_stays_whole() -> None:
    record = example(metrics=(Metric(name="a", value=3, interval=(2, 4)),))
    assert Record.from_bytes(record.to_bytes()).to_bytes() == record.to_bytes()
    assert repr(Record.from_bytes(record.to_bytes()).metrics[0].value) == "3"


def test_an_interval_without_an_end_is_none() -> None:
    record = example(metrics=(Metric(name="a", value=3.0, interval=(2.0, math.inf)),))
    assert Record.from_bytes(record.to_bytes()).metrics[0].interval is None


def test_text_of_other_encodings_may_be_quoted() -> None:
    name = b"\xff.jpg".decode("utf-8", "surrogateescape")
    failed = example(status="failed", error=Failure(type="E", message=name), extra={"skipped": [name]})
    again = Record.from_bytes(failed.to_bytes())
    assert again.extra == {"skipped": [name]}
    assert str(again.error) == "E: \\udcff.jpg"


def test_another_jobs_record_is_invalid() -> None:
    content = example().to_bytes()
    Record.from_bytes(content, kind="reconstruction", key="0f3a")
    with pytest.raises(InvalidRecord, match="is the record of reconstruction/0f3a, not of reconstruction/ffff"):
        Record.from_bytes(content, kind="reconstruction", key="ffff")


def test_older_schemas_are_brought_up_one_version_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def update_to_3(data: dict[str, Any]) -> dict[str, Any]:
        assert data["schema"] == 2
        return {**data, "extra": {"was": data["run"]}}

    def update_to_4(data: dict[str, Any]) -> dict[str, Any]:
        assert data["schema"] == 3
        return {**data, "extra": {"then": data["extra"]}}

    old = example().to_bytes()
    monkeypatch.setattr(module, "SCHEMA", 4)
    monkeypatch.setattr(module, "UPDATES", {**module.UPDATES, 3: update_to_3, 4: update_to_4})
    assert Record.from_bytes(old).extra == {"then": {"was": {"seconds": 1.5}}}
    assert json.loads(Record.from_bytes(old).to_bytes())["schema"] == 4


def test_every_schema_has_its_upgrade() -> None:
    assert sorted(module.UPDATES) == list(range(2, module.SCHEMA + 1))


def test_plain_data() -> None:
    assert plain({"a": (1, math.nan, [math.inf, 2.0]), "b": True}) == {"a": [1, None, [None, 2.0]], "b": True}
    with pytest.raises(TypeError, match="got a set"):
        plain({"a": {1}})
    with pytest.raises(TypeError, match="keys are strings"):
        plain({1: 2})


def test_canonical_keeps_floats_and_odd_file_names() -> None:
    values = [0.1, 1e-300, 1 / 3, -0.0, 1e22, 5]
    name = b"\xff.jpg".decode("utf-8", "surrogateescape")
    assert parse(pretty({"x": values, "name": name})) == {"x": values, "name": name}


def test_an_invalid_record_is_not_written() -> None:
    with pytest.raises(InvalidRecord, match="no error"):
        example(status="failed").to_bytes()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "-0",
            "-0.0",
            "1e5",
            "1E5",
            "0.1e1",
            "1e-400",
            "123456789012345678901234567890",
            "5e-324",
            "9.9e299",
            "1e290",
        ),
        *('"\\u0000"', '"\\ud800"', '"\\ud83d\\ude00"', '{"a": 1, "a": 2}', "[" * 400 + "]" * 400),
        *("9" * 299, "9.9e299"),
    ],
)
def test_what_is_read_fast_is_what_is_read_slowly(text: str) -> None:
    assert repr(parse(text.encode() + b"\n")) == repr(json.loads(text))


@pytest.mark.parametrize(
    "large", ["1E300", "1e+300", "1E+0300", f"{'9' * 220}e90", f"{'9' * 301}.5", f"0.1{'0' * 9}e301"]
)
def test_numbers_that_are_large_in_every_way_of_writing(large: str) -> None:
    assert float(large) >= 1e300
    for before in ("[", "[1, ", '["3e4567", -', '{"b/0e1234":', "[\n "):  # digests may look like it
        with pytest.raises(InvalidRecord, match="is no number"):
            parse(f'{{"a": {before}{large}{"}" if before[0] == "{" else "]"}}}\n'.encode())


def test_digests_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"a": "12e3456", "b/1e9999": ["0e0000", 1.5e10, -2e-400]}'
    slowly = json.loads(text)
    monkeypatch.setattr(json, "loads", None)
    assert repr(parse(f"{text}\n".encode())) == repr(slowly)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1e300", "1e400", "9" * 300, "[1,]", "1.", "01", '"\t"', "nul"])
def test_what_is_no_record_s_json(text: str) -> None:
    with pytest.raises(InvalidRecord, match="not JSON, or cut short"):
        parse(text.encode() + b"\n")
