"""What fingerprints hold of a distribution, read from its package without importing it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from distillkit.registry import Catalog, Offer, Unusable

POISON = "raise RuntimeError('imported')\n"


@pytest.fixture
def numerics(tmp_path: Path) -> Callable[..., str]:
    """Of version 2.3 of a distribution with these files."""

    def find(target: str, **files: str) -> str:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path = path.with_suffix(".py") if not path.name.endswith("init") else path.parent / "__init__.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(POISON + text)
        return Offer("kernel", "k", f"{target}:K", "distillkit-x", "2.3", roots=(str(tmp_path),)).numerics

    return find


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "2.3"),
        ("NUMERICS = 1\n", "0.1.0"),
        ("NUMERICS: int = 2  # since then\n", "numerics 2"),
        ("def f():\n    NUMERICS = 3\n", "2.3"),
        ("this is no Python\n", "2.3"),
    ],
)
def test_a_number_takes_the_place_of_the_version(numerics, text, found):
    assert numerics("one_mod.loss", one_mod__init=text, one_mod__loss="") == found


def test_a_package_of_packages_declares_it_at_any_level_and_a_module_for_itself(numerics):
    files = {"two__inner__init": "NUMERICS = 4\n", "two__inner__loss": "NUMERICS = 9\n"}
    assert numerics("two.inner.loss", **files) == "numerics 4"
    assert numerics("three", three="NUMERICS = 5\n") == "numerics 5"


@pytest.mark.parametrize("value", ["0", "-1", "True", "'1'", "1.0", "ONE"])
def test_what_is_no_number_is_refused(numerics, value):
    with pytest.raises(Unusable, match=r"NUMERICS in .*four.* must be a whole number from 1; pip"):
        numerics("four.loss", four__init=f"NUMERICS = {value}\n", four__loss="")


def test_every_distribution_of_ours_declares_it_so_that_versions_do_not_count():
    for offer in Catalog.installed().offers:
        if offer.dist.partition("-")[0] == "distillkit":
            number = import_module(offer.target.partition(".")[0]).NUMERICS
            assert offer.numerics == ("0.1.0" if number == 1 else f"numerics {number}")
