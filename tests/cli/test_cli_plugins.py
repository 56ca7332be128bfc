"""`distillkit plugins`: the list, one explained, JSON, --verify."""

from __future__ import annotations

import json

import pytest

from distillkit.cli import explain, plugins
from distillkit.cli.main import main
from distillkit.registry import Catalog, Issue, Offer

OFFERS = (
    Offer("dataset", "dots", f"{__name__}:Missing", "other-dist", "2.0"),
    Offer("generator_loss", "tame", "broken_module_of_nobody:Tame", "distillkit-tame", "0.3"),
)


@pytest.fixture
def catalog(monkeypatch):
    made = Catalog(OFFERS, (Issue("odd-dist", "its group is no kind"),))
    monkeypatch.setattr(plugins.Catalog, "installed", classmethod(lambda cls: made))
    monkeypatch.setattr(plugins.Offer, "summary", property(lambda offer: f"about {offer.name}"))


def test_the_list_follows_the_pipeline_and_tells_what_to_write_after_use(catalog, capsys):
    assert main(["plugins"]) == 0
    told = capsys.readouterr()
    assert (
        told.out.index("dataset") < told.out.index("dots") < told.out.index("generator_loss") < told.out.index("tame")
    )
    assert "about dots" in told.out and "other-dist" in told.out
    assert told.err == "warning: odd-dist: its group is no kind\n"


def test_the_list_in_a_pipe_is_plain_and_80_columns_wide(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plugins"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_holds_every_offer(catalog, capsys):
    assert main(["plugins", "--json", "--kind", "generator_loss"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "plugins": [
            {"kind": "generator_loss", "name": "tame", "summary": "about tame", "dist": "distillkit-tame",
             "version": "0.3", "target": "broken_module_of_nobody:Tame", "refused": ""},
        ],
        "issues": [{"dist": "odd-dist", "message": "its group is no kind"}],
    }  # fmt: skip
    assert told.err == ""


def test_json_with_keys_says_why_one_has_none(catalog, capsys):
    assert main(["plugins", "--json", "--keys", "--kind", "generator_loss"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["plugins"]
    assert told["keys"] == [] and "No module named 'broken_module_of_nobody'" in told["refused"]


def test_json_with_keys_of_everything_holds_the_tables_of_the_engine_too(catalog, capsys):
    assert main(["plugins", "--json", "--keys"]) == 0
    names = [table["name"] for table in json.loads(capsys.readouterr().out)["tables"]]
    assert {"recipe", "run", "generator", "optimizer", "auxiliary_loss"} <= set(names)


def test_verify_imports_everything_and_names_what_is_broken(catalog, capsys):
    assert main(["plugins", "--verify"]) == 2
    out = capsys.readouterr().out
    assert "broken" in out and "distillkit-tame" in out and "No module named 'broken_module_of_nobody'" in out
    assert "0 of 2 can be used" in out and "Traceback" not in out


def test_verify_shows_tracebacks_on_request(catalog, capsys):
    assert main(["plugins", "--verify", "--traceback", "--kind", "generator_loss"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().out


PLUGINS = {
    "leaves": "import os; os._exit(0)", "hangs": "import time; time.sleep(1e6)", "stays": """
import threading, time
threading.Thread(target=time.sleep, args=(1e6,)).start()
print("I was here")
from distillkit.builtin.one_step import OneStep as K
""",
}  # fmt: skip


def test_verify_outlives_plugins_that_leave_hang_and_do_not_end(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(plugins.apart, "PATIENCE", 10.0)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, text in PLUGINS.items():
        (tmp_path / f"{name}.py").write_text(text)
    odd = [Offer("sample", name, f"{name}:K", f"other-{name}", "9") for name in PLUGINS]
    after = Offer("sample", "second", "distillkit.builtin.one_step:OneStep", "other-leaves", "9")
    own = Catalog.installed().find("kernel", "rbf")
    monkeypatch.setattr(plugins.Catalog, "installed", classmethod(lambda cls: Catalog((odd[0], after, *odd[1:], own))))
    assert main(["plugins", "--verify"]) == 2
    told = capfd.readouterr().out
    assert [line.split(" of ")[0] for line in told.splitlines()] == [
        "broken  sample leaves: sample 'leaves'", "broken  sample second: not tried, for importing sample 'leaves'",
        "broken  sample hangs: sample 'hangs'", "ok      sample stays  other-stays 9",
        f"ok      kernel rbf  {own.dist} {own.version}", "2",
    ]  # fmt: skip
    assert "importing it ends the process with exit code 0" in told and "importing it takes longer than 10 s" in told


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["tamr"], 'did you mean "tame"'), (["--kind", "lose"], "generator_loss"), (["zzzzzz"], "lists what is installed"),
     (["dots", "--kind", "generator_loss"], "is offered as dataset")],
)  # fmt: skip
def test_an_unknown_name_is_2_with_a_hint(catalog, capsys, arguments, hint):
    assert main(["plugins", *arguments]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["run"], ("kimg", "number > 0", "required")), (["optimizer"], ('"adam", "adamw"',)),
     (["generator"], ("optimizer.clip_norm", "unset")), (["recipe"], ("schema", "evaluate tables")),
     (["auxiliary_loss"], ("use", "installed: ", "ratio"))],
)  # fmt: skip
def test_the_tables_of_the_engine_are_explained_by_their_names(capsys, arguments, words):
    assert main(["plugins", *arguments]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in words)


def test_a_name_near_a_table_of_the_engine_is_2_with_that_name(catalog, capsys):
    assert main(["plugins", "generater"]) == 2
    assert "did you mean generator?" in capsys.readouterr().err


def test_json_of_one_name_holds_its_keys(capsys):
    assert main(["plugins", "--json", "run"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    keys = {key["key"]: key for key in table["keys"]}
    assert keys["device"]["choices"][:4] == ["auto", "cpu", "cuda", "cuda:0"] and keys["device"]["default"] == "auto"
    assert keys["kimg"]["required"] and "default" not in keys["kimg"]
    assert keys["kimg"]["bounds"] == ["> 0.0", "<= 1000000000.0"]
    assert keys["tick_kimg"]["default"] is None


def test_keys_of_the_engine_are_told_as_a_recipe_writes_them(capsys):
    assert main(["plugins", "gaussian-mixture", "--kind", "teacher_score"]) == 0
    out = capsys.readouterr().out
    assert "from_" not in out and "modes" in out and '"gaussian-mixture"' in out


def test_a_loss_tells_what_its_curves_say_those_of_one_sentence_together(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["plugins", "sid"]) == 0
    told = capsys.readouterr().out.partition("what it says")[2].splitlines()
    assert told[1].split()[:3] == ["loss/generator", "The", "gap"]
    at = next(i for i, line in enumerate(told) if line.startswith("loss/critic"))
    assert "Denoising error" in told[at] and told[at + 1].startswith("loss/fake_score")
    assert main(["plugins", "digits"]) == 0 and "what it says" not in capsys.readouterr().out


def test_an_explained_docstring_fits_any_width():
    assert explain.reflowed("One\ntwo.\n\n  code\n  more\n\n- a\n- b") == "One two.\n\n  code\n  more\n\n- a\n- b"
