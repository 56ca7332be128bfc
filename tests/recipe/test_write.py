"""What is written reads as the same recipe."""

from __future__ import annotations

import tomllib

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillkit.recipe import read, to_toml

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _edited(recipe, data):
    """The recipe with values that a file could give it."""
    draw = data.draw
    metric = recipe.evaluate[0]
    config = evolve(
        metric.config,
        images=draw(st.integers(-(2**63), 2**63 - 1)),
        eps=draw(numbers | words),
        limits=draw(st.dictionaries(words, numbers, max_size=3)),
        notes=draw(st.lists(words, max_size=3)),
    )
    every = draw(st.none() | st.floats(min_value=1e-9, allow_infinity=False))
    slot = evolve(metric.slot, every_kimg=every)
    return evolve(
        recipe,
        run=evolve(
            recipe.run,
            kimg=draw(st.floats(min_value=1e-300, max_value=1e9)),
            tick_kimg=draw(st.floats(min_value=1e-9)),  # inf: never
            micro_batch=draw(st.sampled_from([None, 8])),
        ),
        generator=evolve(recipe.generator, freeze=tuple(draw(st.lists(words, max_size=3)))),
        evaluate=(evolve(metric, config=config, slot=slot),) * draw(st.integers(0, 2)),
    )


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_written_recipe_reads_as_itself(recipe, put, good, catalog, data):
    edited = _edited(recipe(good + '[[evaluate]]\nuse = "fid"\n[[auxiliary_loss]]\nuse = "embedding"\n'), data)
    text = to_toml(edited, {"torch": "2.13.0"})
    again = read(put(text, "again.toml"), (), catalog)
    assert evolve(again, path=edited.path) == edited
    assert to_toml(again, {"torch": "2.13.0"}) == text


def test_every_default_is_filled_in_and_none_left_out(recipe, good):
    text = to_toml(recipe(good + '[[auxiliary_loss]]\nuse = "embedding"\nweight = 2\n'), {"distillkit": "0.1.0"})
    data = tomllib.loads(text)
    assert data["run"]["seed"] == 0 and "threads" not in data["run"]
    assert data["generator"]["optimizer"]["betas"] == [0.0, 0.99]
    assert data["auxiliary_loss"] == [
        {
            "use": "embedding", "weight": 2.0, "ratio": 0.5, "every": 1, "start_kimg": 0.0,
            "embeddings": [{"use": "convnet", "depth": 3}, {"use": "residual", "depth": 2}],
            "kernel": {"use": "rbf", "scales": [1.0]},
        }
    ]  # fmt: skip
    assert text.startswith("schema = 1\n") and text.endswith('\n[made_with]\ndistillkit = "0.1.0"\n')


def test_from_is_written_as_from_and_can_be_renamed(recipe, good):
    text = good.replace('checkpoint = "teacher"', 'from = "teacher.toml"') + '[generator]\nfrom = "sid.toml"'
    files = {"teacher.toml": "../teacher/resolved.toml"}
    data = tomllib.loads(to_toml(recipe(text), files=files))
    assert (data["teacher_score"]["from"], data["generator"]["from"]) == ("../teacher/resolved.toml", "sid.toml")
    assert "from_" not in data["generator"]


def test_nothing_is_shown_that_a_terminal_obeys_or_that_turns_letters_round(recipe, complaints, good):
    odd = "a\u202eb\x9b31mc\x07\u2066\U000e0001d\x7f"
    text = to_toml(recipe(good.replace("points.npz", "".join(f"\\U{ord(c):08x}" for c in odd))))
    assert tomllib.loads(text)["dataset"]["path"].endswith(f"/{odd}")
    (told,) = complaints(good, [f'run.device="{odd}"'.encode("unicode_escape").decode().replace("\\x", "\\u00")])
    assert text.replace("\n", "").isprintable() and told.isprintable() and "\\u202e" in told
