"""`distillkit doctor`: one line for each thing, and exit code 2 only where something is broken."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from distillkit.cli import doctor
from distillkit.cli.main import main
from distillkit.registry import Catalog, Offer
from distillkit.registry.scan import Issue

BROKEN = doctor.apart.broken


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and components of the core only: importing all plugins takes seconds."""
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    use(monkeypatch)
    monkeypatch.setattr(doctor.apart, "broken", lambda offers: ())
    return tmp_path / "home"


def use(monkeypatch: pytest.MonkeyPatch, *offers: Offer, issues: tuple[Issue, ...] = ()) -> None:
    real = Catalog.installed()
    own = tuple(offer for offer in real.offers if offer.dist == "distillkit")
    made = attrs.evolve(real, offers=(*own, *offers), issues=issues)
    monkeypatch.setattr(doctor.Catalog, "installed", classmethod(lambda cls: made))


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]


def test_a_sound_place_is_0_and_every_part_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    *found, last = lines(capsys)
    assert {line[0] for line in found} <= {"ok", "warn"}
    parts = {"python", "torch", "onnx", "hub", "system", "plugins", "device", "threads", "runs", "cache"}
    assert {line[1] for line in found} == parts
    assert " ".join(last).endswith("0 broken")


PLUGINS = {
    "crashes": "import ctypes; ctypes.string_at(0)", "leaves": "import os; os._exit(0)",
    "hangs": "import time; time.sleep(1e6)",
    "prints": "import os; print('I was here'); os.write(2, b'me too'); raise RuntimeError('no')",
}  # fmt: skip


def test_plugins_that_crash_leave_hang_and_print_are_broken_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor.apart, "broken", BROKEN)
    monkeypatch.setattr(doctor.apart, "PATIENCE", 10.0)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, text in PLUGINS.items():
        (tmp_path / f"{name}.py").write_text(text)
    offers = [Offer("kernel", name, f"{name}:K", f"distillkit-{name}", "9.9") for name in [*PLUGINS, "missing"]]
    made = attrs.evolve(Catalog.installed(), offers=tuple(offers), issues=(Issue("distillkit-odd", "it is odd"),))
    monkeypatch.setattr(doctor.Catalog, "installed", classmethod(lambda cls: made))
    assert main(["doctor"]) == 2
    told = capfd.readouterr()
    texts = [line.split(maxsplit=2)[2] for line in told.out.splitlines() if line.startswith("broken")]
    words = ["odd", "process by SIGSEGV", "with exit code 0", "longer than 10 s", "RuntimeError: no", "No module named"]
    assert len(texts) == len(words) and all(word in text for word, text in zip(words, texts, strict=True)), texts
    assert "here" not in told.out + told.err and "me too" not in told.out + told.err


def test_the_cache_is_counted_and_a_damaged_list_of_sums_is_broken(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "assets").mkdir(parents=True)
    (home / "assets" / "x.pkl").write_bytes(b"0" * 1_500_000)
    assert main(["doctor"]) == 0
    assert ["ok", "cache", "assets: 1.5 MB, files: 1"] in lines(capsys)
    (home / "assets" / "assets.lock").write_text("no sum\n")
    assert main(["doctor"]) == 2
    assert any(line[:2] == ["broken", "cache"] and "assets.lock:1" in line[2] for line in lines(capsys))


def test_a_full_disk_is_a_warning_and_a_file_in_the_way_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "ROOM_GB", 1e9)
    assert main(["doctor", "--runs", "new/runs"]) == 0
    assert [line[0] for line in lines(capsys) if line[1] == "runs"] == ["warn"]
    Path("file").touch()
    assert main(["doctor", "--runs", "file/runs"]) == 2
    assert [line[0] for line in lines(capsys) if line[1] == "runs"] == ["broken"]


def test_an_old_torch_is_a_warning_and_none_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "2.4.1")
    assert [line.state for line in doctor.versions() if line.name == "torch"] == ["warn"]

    def none(name: str) -> str:
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", none)
    assert [line.state for line in doctor.versions() if line.name == "torch"] == ["broken"]
