"""Everything that can be wrong with a recipe, each with what a person is told; nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

EL = '[[auxiliary_loss]]\nuse = "embedding"\n'
FRECHET = '[[evaluate]]\nuse = "frechet"\n'
END = "images = 64\n"

# name -> (old text, new text whose last line is the wrong one, words of the answer)
RECIPES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # names
    "unknown key": ("alpha = 1.0", "alhpa = 1.0", ("generator_loss.alhpa  unknown key", "did you mean alpha?")),
    "unknown key far from any": ("alpha = 1.0", "qqqq = 1.0", ("generator_loss.qqqq  unknown key", "keys here: use, ")),
    "key of the wrong table": ("kimg = 0.128", "kimg = 0.128\nema = 1", ("run.ema  unknown key", "keys here: kimg, ")),
    "unknown table": (END, f"{END}[sampel]", ("sampel  unknown table", "did you mean sample?")),
    "unknown key at the top": ("schema = 1", "schema = 1\nkimg = 1", ("kimg  unknown key", "keys here: schema, run, ")),
    "dataset": (
        '[dataset]\nuse = "gaussian-mixture"', '[dataset]\nuse = "gausian-mixture"',
        ('dataset.use  no dataset named "gausian-mixture"', 'did you mean "gaussian-mixture"?'),
    ),
    "teacher_score": (
        '[teacher_score]\nuse = "gaussian-mixture"', '[teacher_score]\nuse = "netwrok"',
        ('teacher_score.use  no teacher_score named "netwrok"', 'did you mean "network"?', "installed: "),
    ),
    "network": ('use = "mlp"', 'use = "mpl"', ('generator.network.use  no network named "mpl"', '"mlp"?')),
    "sample": ('use = "one-step"', 'use = "onestep"', ('sample.use  no sample named "onestep"', '"one-step"?')),
    "generator_loss": ('use = "sid"', 'use = "sidd"', ('generator_loss.use  no generator_loss named "sidd"', '"sid"?')),
    "auxiliary_loss": (END, f'{END}[[auxiliary_loss]]\nuse = "embeding"', ("auxiliary_loss[0].use", '"embedding"?')),
    "evaluate": ('use = "mixture"', 'use = "mixtures"', ('evaluate[0].use  no evaluate named "mixtures"', '"mixture"')),
    "embedding": (
        END, f'{END}{EL}embeddings = [{{ use = "pixels" }}, {{ use = "residal" }}]',
        ('auxiliary_loss[0].embeddings[1].use  no embedding named "residal"', 'did you mean "residual"?'),
    ),
    "kernel": (END, f'{END}{EL}kernel = {{ use = "rfb" }}', ("auxiliary_loss[0].kernel.use  no kernel", '"rbf"?')),
    "augment": (
        "alpha = 1.0", 'augment = { use = "emd" }', ("generator_loss.augment.use  no augment", 'did you mean "edm"?')
    ),
    "features": (
        END, f'{END}{FRECHET}features = {{ use = "digit-classifier" }}',
        ("evaluate[1].features.use  no features named", 'did you mean "digits-classifier"?'),
    ),
    "right name of another kind": (
        '[[evaluate]]\nuse = "mixture"', '[[evaluate]]\nuse = "mlp"',
        ('evaluate[0].use  no evaluate named "mlp"', '"mlp" is offered as network', "installed: "),
    ),
    "no name at all": ('[[evaluate]]\nuse = "mixture"', "[[evaluate]]", ("evaluate[0].use  missing", "installed: ")),
    "name that is a number": ('use = "mlp"', "use = 3", ("generator.network.use  expected a string, got 3",)),
    "name that is empty": ('use = "mlp"', 'use = ""', ('no network named ""', "installed: ")),
    "name of control characters": ('use = "mlp"', r'use = "\u001b[2J"', (r'no network named "\u001b[2J"',)),
    # types
    "string for int": ("batch = 32", 'batch = "32"', ("expected an integer, got the string", "without quotes: 32")),
    "float for int": ("batch = 32", "batch = 32.0", ("run.batch  expected an integer, got 32.0",)),
    "bool for int": ("batch = 32", "batch = true", ("run.batch  expected an integer, got true",)),
    "int for bool": ("alpha = 1.0", "shared_forward = 1", ("shared_forward  expected true or false, got 1",)),
    "string for float": ("kimg = 0.128", 'kimg = "long"', ('run.kimg  expected a number, got the string "long"',)),
    "int for string": ('ema = "none"', "ema = 0", ("generator.ema  expected a string, got 0",)),
    "nan": ("kimg = 0.128", "kimg = nan", ("run.kimg", "nan")),
    "inf": ("kimg = 0.128", "kimg = inf", ("run.kimg", "must be finite, got inf")),
    "integer of 100 digits": ("batch = 32", f"batch = {'9' * 100}", ("run.batch", "more than 64 bits")),
    "date for float": ("alpha = 1.0", "alpha = 2024-01-01", ("generator_loss.alpha", "the date or time 2024-01-01")),
    "list for table": ("[sample]", "[[sample]]", ("sample  expected a table with use, got a list", "write [sample]")),
    "table for list": ("[[evaluate]]", "[evaluate]", ("evaluate  expected a list, got a table", "write [[evaluate]]")),
    "value for table": (
        "schema = 1\n", "schema = 1\nauxiliary_loss = 3\n", ("auxiliary_loss  expected a list, got 3",)
    ),
    "list too short": ("alpha = 1.0", "betas = [0.9]", ("betas  expected a list of 2, got a list of 1",)),
    "string in a list of numbers": ("alpha = 1.0", 'betas = [0.0, "x"]', ("generator_loss.betas[1]", "a number")),
    # ranges and choices
    "batch of nothing": ("batch = 32", "batch = 0", ("run.batch  must be >= 1", "0")),
    "negative length": ("kimg = 0.128", "kimg = -1", ("run.kimg  must be > 0", "-1")),
    "seed too large": ("threads = 1", "seed = 4294967296", ("run.seed  must be < 4294967296",)),
    "device of another make": ('device = "cpu"', 'device = "gpu"', ('run.device  must be one of "auto"', '"gpu"')),
    "precision unheard of": ("threads = 1", 'precision = "fp23"', ("run.precision", 'did you mean "fp32"?')),
    "sigma_init of zero": ('use = "one-step"', 'use = "one-step"\nsigma_init = 0', ("sample.sigma_init  must be > 0",)),
    "negative alpha": ("alpha = 1.0", "alpha = -1", ("generator_loss.alpha  must be >= 0",)),
    "dropout of one": ('ema = "none"', "dropout = 1", ("generator.dropout  must be < 1",)),
    "weight unheard of": (END, f'{END}{EL}weight = "half"', ("auxiliary_loss[0].weight", 'must be "auto" or a number')),
    "micro_batch that does not divide": (
        "batch = 32", "batch = 32\nmicro_batch = 5", ("must divide run.batch = 32, got 5", "for example 4")
    ),
    # what belongs together
    "batch missing": ("batch = 32\n", "", ("run.batch  missing",)),
    "length missing": ("kimg = 0.128\n", "", ("run.kimg  missing",)),
    "dataset missing": ('[dataset]\nuse = "gaussian-mixture"\nsize = 256\n', "", ("dataset  missing", "[dataset]")),
    "method missing": ('[generator_loss]\nuse = "sid"\nalpha = 1.0\n', "", ("generator_loss  missing",)),
    "schema missing": ("schema = 1\n", "", ("schema  missing", "schema = 1 at the top")),
    "schema of tomorrow": ("schema = 1", "schema = 2", ("schema  this distillkit reads schema = 1",)),
    "start from two places": (
        'init = "scratch"', 'checkpoint = "a"\nfrom = "b.toml"', ("generator.from  given together with checkpoint",)
    ),
    "teacher from two places": (
        '[teacher_score]\nuse = "gaussian-mixture"',
        '[teacher_score]\nuse = "network"\ncheckpoint = "a"\nfrom = "b.toml"',
        ("teacher_score.from  given together with checkpoint",),
    ),
    "copy of no teacher": (
        '[teacher_score]\nuse = "gaussian-mixture"\n\n[generator]\ninit = "scratch"', '[generator]\ninit = "teacher"',
        ('generator.init  "teacher" needs a [teacher_score]',),
    ),
    "scratch without a network": (
        '[generator.network]\nuse = "mlp"\nwidth = 128\n', "",
        ('generator.network  missing, and init = "scratch" needs', "[generator.network]"),
    ),
    "shared forward pass with augment": (
        "alpha = 1.0", 'augment = { use = "edm" }\nshared_forward = true',
        ("generator_loss.shared_forward", "un-augmented", "take out [generator_loss.augment]"),
    ),
    # other recipes
    "extends missing": ("schema = 1", 'schema = 1\nextends = "none.toml"', ("extends  no such file", "none.toml")),
    "extends itself": ("schema = 1", 'schema = 1\nextends = "x.toml"', ("goes in a circle: x.toml -> x.toml",)),
    "extends absolute": ("schema = 1", 'schema = 1\nextends = "/etc/a.toml"', ("extends", "must be the relative path")),
    "extends no recipe": ("schema = 1", 'schema = 1\nextends = "a.pkl"', ("extends", "relative path of a .toml file")),
    "extends a list": ("schema = 1", 'schema = 1\nextends = ["a.toml"]', ("extends  no such file", "a.toml")),
    "extends numbers": ("schema = 1", "schema = 1\nextends = [1]", ("extends", "relative path of a .toml file")),
    "from missing": ('init = "scratch"', 'from = "none.toml"', ("generator.from  no such file", "none.toml")),
    "from absolute": ('init = "scratch"', 'from = "/a.toml"', ("generator.from", "relative path of a .toml file")),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_wrong_recipe_is_told_with_place_and_remedy(lab, name):
    old, new, words = RECIPES[name]
    lab.edit((old, new))
    text = (lab / "x.toml").read_text()
    place = f"x.toml:{text[: text.index(new) + len(new.rstrip())].count(chr(10)) + 1}" if new.strip() else "x.toml"
    lab.refused(["run", "x.toml"], 2, "in x.toml; nothing was run.", place, *words)


def test_every_problem_of_a_recipe_is_told_at_once(lab):
    lab.edit(("batch = 32", 'batch = "32"'), ("alpha = 1.0", "alhpa = 1.0"), ('use = "mlp"', 'use = "mpl"'))
    told = lab.refused(["run", "x.toml"], 2, "3 problems in x.toml; nothing was run.")
    lines = [int(line.split()[0].removeprefix("x.toml:")) for line in told.splitlines() if line.startswith("  x.toml")]
    assert len(lines) == 3 and lines == sorted(lines)


def test_check_refuses_what_run_refuses(lab):
    lab.edit(("alpha = 1.0", "alhpa = 1.0"))
    lab.refused(["check", "x.toml"], 2, "generator_loss.alhpa  unknown key", "did you mean alpha?")


def test_a_known_plugin_that_is_not_installed_is_named(lab, monkeypatch):
    from distillkit.registry import scan

    installed = [dist for dist in scan.distributions() if dist.name != "distillkit-sid"]
    monkeypatch.setattr(scan, "distributions", lambda: installed)
    lab.refused(["run", "x.toml"], 2, 'no generator_loss named "sid"', "pip install distillkit-sid")


def test_a_plugin_that_was_switched_off_is_named(lab, monkeypatch):
    monkeypatch.setenv("DISTILLKIT_DISABLE", "distillkit-sid")
    lab.refused(["run", "x.toml"], 2, 'no generator_loss named "sid"', "DISTILLKIT_DISABLE switches it off")


def test_recipes_that_start_from_each_other_are_named(lab):
    lab.edit(('init = "scratch"', 'from = "y.toml"'), ('[generator.network]\nuse = "mlp"\nwidth = 128\n', ""))
    (lab / "y.toml").write_text((lab / "x.toml").read_text().replace("y.toml", "x.toml"))
    lab.refused(["run", "x.toml"], 2, "circle: x.toml -> y.toml -> x.toml")


def test_a_problem_in_a_recipe_it_builds_on_names_that_file(lab):
    lab.edit(("alpha = 1.0", "alhpa = 1.0"), name="y.toml")
    (lab / "x.toml").write_text('schema = 1\nextends = "y.toml"\n')
    lab.refused(["run", "x.toml"], 2, "in x.toml; nothing was run.", "y.toml:31", "alhpa")
    lab.edit(('init = "scratch"', 'from = "y.toml"'), ('[generator.network]\nuse = "mlp"\nwidth = 128\n', ""))
    lab.refused(["run", "x.toml"], 2, "in y.toml; nothing was run.", "y.toml:31", "alhpa")


SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no equals sign": ("run.kimg", ('"run.kimg" is not KEY=VALUE', "for example run.kimg=100")),
    "no key": ("=3", ("is not KEY=VALUE",)),
    "dots without a name": ("run..kimg=3", ("is not KEY=VALUE",)),
    "unknown key": ("run.kmig=3", ("--set", "run.kmig  unknown key", "did you mean kimg?")),
    "unknown table": ("rnu.kimg=3", ("--set", "rnu  unknown table", "did you mean run?")),
    "wrong type": ("run.batch=many", ("--set", 'run.batch  expected an integer, got the string "many"')),
    "entry that is not there": ("evaluate.3.images=64", ("--set", "evaluate has 1 entries, numbered from 0")),
    "key of a value": ("run.kimg.x=1", ("--set", "run.kimg is a value, not a table")),
    "unknown component": ("sample.use=hen", ("--set", 'sample.use  no sample named "hen"', 'did you mean "heun"?')),
    "control characters": ("run.device=\x1b[2J", ("--set", "cannot be printed")),
    "deep value": (f"generator.freeze={'[' * 3000}", ("--set", "generator.freeze  expected a list, got the string")),
    "many dots": ("a" + ".a" * 3000 + "=1", ("--set", "nested deeper than 32")),
}


@pytest.mark.parametrize("name", SETS)
def test_a_wrong_setting_is_told_as_such(lab, name):
    setting, words = SETS[name]
    lab.refused(["run", "x.toml", "--set", setting], 2, "nothing was run.", *words)


def hostile(data: bytes):
    return lambda path: path.write_bytes(data)


FILES: dict[str, tuple[object, tuple[str, ...]]] = {
    "no file": (Path.unlink, ("no such file",)),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), ("no such file",)),
    "not UTF-8": (hostile(b'schema = 1\na = "\xff"'), ("x.toml", "not UTF-8: byte 0xff at 16")),
    "too large": (hostile(b"#" * 300_000), ("larger than 256 KB",)),
    "5000 nested arrays": (hostile(b"a = " + b"[" * 5000 + b"]" * 5000), ("x.toml:1", "nested deeper than 32")),
    "long dotted key": (hostile(b".".join([b"a"] * 20_000) + b" = 1"), ("x.toml:1", "nested deeper than 32")),
    "not TOML": (hostile(b"schema = 1\n\nkimg : 3\n"), ("x.toml:3", "not TOML: Expected '=' after a key")),
    "twice the same key": (hostile(b"schema = 1\nschema = 1\n"), ("not TOML: Cannot overwrite a value",)),
    "empty": (hostile(b""), ("schema  missing", "schema = 1 at the top")),
    "a picture": (hostile(b"\x89PNG\r\n\x1a\n" + bytes(100)), ("not UTF-8",)),
    "a link to itself": (lambda path: (path.unlink(), path.symlink_to("x.toml")), ("no such file",)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_recipe_is_told_as_such(lab, name):
    make, words = FILES[name]
    make(lab / "x.toml")
    lab.refused(["run", "x.toml"], 2, "1 problem in x.toml; nothing was run.", *words)
