"""`distillkit doctor`: one line for each thing, and exit code 2 only where something is broken."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from distillkit.cli import doctor
from distillkit.cli.main import main
from distillkit.registry import Catalog, Offer
from distillkit.registry.scan import Issue


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and components of the core only: importing all plugins takes seconds."""
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    use(monkeypatch)
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
    assert {line[1] for line in found} == {"python", "torch", "onnx", "plugins", "device", "threads", "runs", "cache"}
    assert " ".join(last).endswith("0 broken")


def test_a_plugin_that_cannot_be_imported_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Offer("kernel", "bad", "no_such_module:Bad", "distillkit-bad", "9.9")
    use(monkeypatch, bad, issues=(Issue("distillkit-odd", "it needs distillkit <0.1"),))
    assert main(["doctor"]) == 2
    texts = [line[2] for line in lines(capsys) if line[:2] == ["broken", "plugins"]]
    assert len(texts) == 2 and "distillkit-odd: it needs" in texts[0] and "No module named 'no_such_module'" in texts[1]


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
