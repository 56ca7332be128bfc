"""metrics.jsonl: strictly increasing, whole lines, exact after a kill and a resume."""

from __future__ import annotations

import json
import math
import os
import signal
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillkit.api import InputError, ResourceError
from distillkit.disk.metrics import MetricsLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def tick(nimg: int) -> dict[str, object]:
    return {"what": "tick", "nimg": nimg, "loss": nimg / 3}


def filled(path: Path) -> MetricsLog:
    log = MetricsLog(path)
    for nimg in (10, 20, 30, 40):
        log.append(tick(nimg))
        if nimg % 20 == 0:
            log.append({"what": "evaluate", "nimg": nimg, "fid": 1.5})
    return log


def test_rows_come_back_as_they_were(path: Path) -> None:
    log = filled(path)
    assert [row["nimg"] for row in log.read()] == [10, 20, 20, 30, 40, 40]
    assert log.read()[0] == tick(10)  # also before sync: another process sees the row at once
    assert path.read_text().count("\n") == 6


def test_not_a_number_is_a_string_that_any_json_reader_takes(path: Path) -> None:
    MetricsLog(path).append({**tick(1), "a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 0.1})

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    row = json.loads(path.read_text(), parse_constant=refuse)
    assert (row["a"], row["b"], row["d"]) == ("nan", ["inf", {"c": "-inf"}], 0.1)
    (read,) = MetricsLog(path).read()
    assert math.isnan(read["a"])


@pytest.mark.parametrize("nimg", [40, 39, 0])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_row_that_does_not_come_later_is_refused(path: Path, nimg: int, reopened: bool) -> None:
    log = filled(path)
    log = MetricsLog(path) if reopened else log
    with pytest.raises(ValueError, match=f"tick at nimg {nimg} after one at 40"):
        log.append(tick(nimg))
    log.append({"what": "profile", "nimg": nimg})  # each kind counts on its own
    assert len(log.read()) == 7


def test_resume_drops_the_rows_that_will_be_made_again(path: Path) -> None:
    log = filled(path)
    log.truncate(20)
    assert [row["nimg"] for row in log.read()] == [10, 20, 20]
    log.append(tick(30))
    assert [row["nimg"] for row in MetricsLog(path).read()] == [10, 20, 20, 30]


@pytest.mark.filterwarnings("ignore:.*not a row")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([0, 20, 40]), st.floats(0, 1), st.binary(max_size=4))
def test_a_file_torn_anywhere_after_a_checkpoint_resumes_to_the_uninterrupted_one(
    checkpoint: int, cut: float, garbage: bytes
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "metrics.jsonl"
        rows = filled(path).read()
        whole = path.read_bytes()
        safe = len(b"".join(whole.splitlines(True)[: sum(row["nimg"] <= checkpoint for row in rows)]))  # synced with it
        path.write_bytes(whole[: safe + int(cut * (len(whole) - safe))] + garbage)
        log = MetricsLog(path)
        log.truncate(checkpoint)
        for row in rows:
            if row["nimg"] > checkpoint:
                log.append(row)
        assert path.read_bytes() == whole


def test_nothing_is_glued_to_a_torn_line(path: Path) -> None:
    filled(path)
    with open(path, "ab") as file:
        file.write(b'{"what": "tick", "nimg": 50')
    log = MetricsLog(path)
    assert len(log.read()) == 6 and path.read_bytes().endswith(b"50")  # reading changes nothing
    log.append(tick(50))
    assert log.read()[-1] == tick(50) and len(log.read()) == 7


def test_an_unreadable_line_in_the_middle_is_named_and_left_out(path: Path) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], bytes(5) + b"\n", *lines[2:]]))
    with pytest.warns(UserWarning, match="metrics.jsonl:3: not a row"):
        log = MetricsLog(path)
    with pytest.warns(UserWarning, match="metrics.jsonl:3: not a row"):
        log.truncate(40)
    assert path.read_bytes() == b"".join(lines)


def test_a_row_that_does_not_fit_the_disk_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(path)
    before, write = path.read_bytes(), os.write
    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="No space left"):
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
        log.append(tick(50))
    assert path.read_bytes() == before
    log.append(tick(50))
    assert len(log.read()) == 7


def test_a_kill_loses_no_row_that_was_appended(path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            filled(path)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(MetricsLog(path).read()) == 6


def test_sync_forces_the_rows_to_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(path)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    log.append(tick(50))
    assert synced == []
    log.sync()
    assert synced == [str(path)]


def test_a_planted_link_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("mine")
    path.symlink_to(victim)
    with pytest.raises(InputError, match="cannot read"):
        MetricsLog(path)
    path.unlink()
    log = MetricsLog(path)
    path.symlink_to(path.with_name("not there yet"))
    with pytest.raises(ResourceError):
        log.append(tick(1))
    assert victim.read_text() == "mine" and not path.with_name("not there yet").exists()


@pytest.mark.parametrize("value", ['"much"', "null", "[1.0]", "true"])
def test_a_metric_that_is_no_number_makes_a_line_no_row(path: Path, value: str) -> None:
    path.write_text(
        f'{{"what": "evaluate", "nimg": 8, "m/fd": {value}}}\n{{"what": "evaluate", "nimg": 9, "m/fd": 1}}\n'
    )
    with pytest.warns(UserWarning, match="metrics.jsonl:1: not a row of metrics, left out"):
        assert [row["nimg"] for row in MetricsLog(path).read()] == [9]


def test_a_changed_digit_and_a_lost_line_are_told(path: Path) -> None:
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"1.5", b"2.5"), *lines[3:]]))
    with pytest.warns(UserWarning, match=r"metrics.jsonl:3: not a row"):
        assert [row["nimg"] for row in MetricsLog(path).read()] == [10, 20, 30, 40, 40]
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    with pytest.warns(UserWarning, match="1 rows are lost, the first is number 1"):
        MetricsLog(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_changed_byte_gives_another_number_without_a_word(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "metrics.jsonl"
        rows = filled(path).read()
        text = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes(text))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = MetricsLog(path).read()
        assert found == rows or told or found == rows[: len(found)]  # a torn last line is one being written


def test_rows_of_the_first_release_have_no_check_and_are_read(path: Path) -> None:
    path.write_text('{"what": "tick", "nimg": 10, "loss": 1.0}\n')
    log = MetricsLog(path)
    log.append(tick(20))
    assert [row["nimg"] for row in MetricsLog(path).read()] == [10, 20]
