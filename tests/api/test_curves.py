"""Sentences on what a run logs: whose counts, and that every loss that is shipped has some."""

from __future__ import annotations

import pytest

from distillkit.api.curves import GENERAL, of, sentence
from distillkit.registry import Catalog

LOSSES = [offer for kind in ("generator_loss", "auxiliary_loss") for offer in Catalog.installed().of(kind)]


def test_the_name_counts_before_a_pattern_and_a_component_before_the_engine() -> None:
    own = {"grad_norm/generator": "ours", "fd/*": "all", "fd/convnet": "one"}
    assert sentence("grad_norm/generator", own) == "ours"
    assert sentence("grad_norm/fake_score", own) == GENERAL["grad_norm/*"]
    assert (sentence("fd/convnet", own), sentence("fd/pixels", own)) == ("one", "all")
    assert sentence("nothing/of_the_kind", own) is None
    assert sentence("fd/convnet", {"fd/convnet": "first"}, own) == "first"


def test_the_second_component_of_a_name_has_the_sentence_of_the_first() -> None:
    assert sentence("loss/embedding.1", {"loss/embedding": "the MMD"}) == "the MMD"
    assert sentence("accuracy/fake/adversarial") == GENERAL["accuracy/fake*"]


def test_what_an_older_plugin_calls_curves_is_none_of_these() -> None:
    class Older:
        curves = property(lambda self: [1, 2])

    assert of(Older) == of(Older()) == {} and of(object()) == {}


@pytest.mark.parametrize("offer", LOSSES, ids=lambda offer: offer.name)
def test_every_loss_that_is_shipped_says_what_its_curves_mean(offer) -> None:
    curves = Catalog.installed().load(offer.kind, offer.name).curves
    assert any(name.startswith("loss/") for name in curves)
    for name, text in (*curves.items(), *GENERAL.items()):
        assert text.isascii() and text.endswith(".") and "  " not in text, name
        assert 20 < len(text) < 330, f"{name}: {len(text)} characters under a chart"
