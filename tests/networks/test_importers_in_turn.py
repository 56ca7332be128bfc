"""Importers share suffixes: who knows a file reads it, and nobody's refusal is lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillkit.api import Importer, InputError
from distillkit.networks import importers
from distillkit.registry import Catalog, Offer


class Mine(Importer):
    """Files that begin with "mine"."""

    def declines(self, path: Path) -> str | None:
        return "" if path.read_text().startswith("mine") else "it does not begin with mine"


class Also(Importer):
    """Files with "also" in them."""

    def declines(self, path: Path) -> str | None:
        return "" if "also" in path.read_text() else "it holds no also"


class Old(Importer):
    """As before importers could decline."""


def broken() -> Any:
    from distillkit.registry import Unusable

    raise Unusable("importer of distillkit-broken cannot be used", "uninstall it")


CLASSES: dict[str, Any] = {"mine.txt": Mine, "also.txt": Also, "txt": Old, "bad.txt": None, "mine.folder": Old}


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Catalog]:
    """`catalog("mine.txt", "txt")` has these importers, each of a distribution of its own, and `twice=1` a second."""
    monkeypatch.setattr(Offer, "load", lambda self: CLASSES[self.name] or broken())

    def made(*names: str, twice: int = 0) -> Catalog:
        offers = [Offer("importer", name, "m:C", f"distillkit-{name[:2]}", "1.0") for name in sorted(names)]
        return Catalog((*offers, *(Offer("importer", names[0], "m:C", "distillkit-z", "1.0"),) * twice))

    return made


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        (tmp_path / "file.txt").write_text(text)
        return tmp_path / "file.txt"

    return written


@pytest.mark.parametrize(
    ("text", "names", "who"),
    [
        ("mine", ("mine.txt", "also.txt"), "mine.txt"),
        ("an also", ("mine.txt", "also.txt"), "also.txt"),
        ("an also", ("txt", "also.txt"), "also.txt"),
        ("neither", ("mine.txt", "also.txt", "txt"), "txt"),
        ("neither", ("mine.txt",), "mine.txt"),
        ("mine", ("mine.txt", "bad.txt"), "mine.txt"),
    ],
)
def test_who_knows_a_file_reads_it(
    catalog: Callable[..., Catalog], file: Callable[[str], Path], text: str, names: tuple[str, ...], who: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert importers.reader(file(text), catalog(*names)).offer.name == who


def test_a_file_that_several_know_is_read_by_the_first_and_the_others_are_told(
    catalog: Callable[..., Catalog], file: Callable[[str], Path]
) -> None:
    with pytest.warns(UserWarning, match=r"is read by also\.txt of distillkit-al; so would mine\.txt of distillkit-mi"):
        assert importers.reader(file("mine, also"), catalog("mine.txt", "also.txt")).offer.name == "also.txt"
    with pytest.warns(UserWarning, match="is read by txt of distillkit-tx; so would txt of distillkit-z"):
        assert importers.reader(file("any"), catalog("txt", twice=1)).offer.dist == "distillkit-tx"


def test_a_file_that_nobody_knows_is_refused_with_what_each_said(
    catalog: Callable[..., Catalog], file: Callable[[str], Path]
) -> None:
    with pytest.raises(InputError) as refusal:
        importers.reader(file("neither"), catalog("mine.txt", "also.txt", "bad.txt"))
    told = str(refusal.value)
    assert "nothing here reads it: also.txt of distillkit-al: it holds no also; " in told
    assert "distillkit-broken cannot be used" in told and "mine.txt of distillkit-mi: it does not begin" in told
    assert "\n" not in told


def test_what_several_say_is_told_once(catalog: Callable[..., Catalog], file: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match=r": mine\.txt of distillkit-mi, mine\.txt of distillkit-z: it does not begin"):
        importers.reader(file("neither"), catalog("mine.txt", twice=1))


def test_suffixes_are_known_without_asking_and_folders_have_a_name_of_their_own(
    catalog: Callable[..., Catalog], tmp_path: Path
) -> None:
    several = catalog("mine.txt", "txt", "mine.folder")
    assert importers.suffixes(several) == [".txt"]
    assert [offer.name for offer in importers.offers(tmp_path, several)] == ["mine.folder"]
    with pytest.raises(InputError, match=r"importers here read \.txt"):
        importers.reader(tmp_path / "file.xyz", several)


def test_two_distributions_may_offer_one_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("distillkit-a", "distillkit-b"):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[distillkit.importer]\npt = a:B\nmine.pt = a:C\nMine.pt = a:D\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    catalog = Catalog.installed()
    names = [(offer.name, offer.dist) for offer in importers.offers(Path("x.pt"), catalog)]
    assert names == [(name, dist) for name in ("mine.pt", "pt") for dist in ("distillkit-a", "distillkit-b")]
    assert len(catalog.issues) == 2 and all("Mine.pt" in issue.message for issue in catalog.issues)
