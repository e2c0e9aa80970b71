"""The TOML: what is read, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.config import Config, Gate, Profile, load_config
from pipeline.errors import InputError

MINIMAL = 'name = "wine"\n[data]\nsource = "digits"\n'
TRIAGE = MINIMAL + "[decision.profiles.triage]\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_three_lines_are_a_config(tmp_path: Path) -> None:
    """Everything but a name and a source has a default."""
    config = load_config(_write(tmp_path, MINIMAL))
    assert config.name == "wine"
    assert [loss.name for loss in config.search.losses] == ["cross_entropy"]


def test_a_loss_is_a_name_or_a_table_with_parameters(tmp_path: Path) -> None:
    """`losses` takes both spellings side by side."""
    text = MINIMAL + '[search]\nlosses = ["cross_entropy", { name = "expected_value", lam = 0.5 }]\n'
    plain, table = load_config(_write(tmp_path, text)).search.losses
    assert (plain.name, plain.parameters) == ("cross_entropy", {})
    assert (table.name, table.parameters) == ("expected_value", {"lam": 0.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nme = 1\n" + MINIMAL, r"the top level has no key 'nme'; did you mean 'name'\?"),
        (MINIMAL + "[search]\nepoch = 3\n", r"\[search\] has no key 'epoch'; did you mean 'epochs'\?"),
        (MINIMAL + "[serach]\n", r"no key 'serach'; did you mean 'search'\?"),
        (MINIMAL + "[search]\nepochs = 0\n", r"search\.epochs: .*greater than 0, got 0"),
        (MINIMAL + "[search]\nlosses = []\n", r"search\.losses: .*at least 1"),
        (MINIMAL + "[search]\nlosses = [{ lam = 1 }]\n", r"needs the key 'name'"),
        (MINIMAL + "[split]\ntest = 0.9\nvalidation = 0.2\n", r"leave nothing to train on: 0\.9 \+ 0\.2"),
        (MINIMAL + '[decision]\nprofile = "absolut"\n', r"decision\.profile: .*'absolute'"),
        ('name = "wine"\n', r"the top level needs the key 'data'"),
        ('name = "wine"\n[data]\n', r"\[data\] needs the key 'source'"),
        ('name = "no/slash"\n[data]\nsource = "digits"\n', r"name: .*got 'no/slash'"),
        (MINIMAL + 'labels = ["a", "b"]\nvalues = [1]\n', r"1 values for 2 labels"),
        (MINIMAL + 'labels = ["a", "b"]\nvalues = [2, 1]\n', r"values must rise"),
        (MINIMAL + 'labels = ["a", "a"]\n', r"a label is named twice"),
        (MINIMAL + "values = [1, 2]\n", r"values need labels"),
        (MINIMAL + "[search]\nseed = -5\n", r"search\.seed: .*greater than or equal to 0"),
        (MINIMAL + "[decision]\nunder = 0\nover = 0\n", r"every decision would cost nothing"),
        ('name = "wine.v2"\n[data]\nsource = "digits"\n', r"name: .*got 'wine\.v2'"),
        (MINIMAL + "[search\n", r"not valid TOML: .*line 4"),
        (
            'name = "wine"\n[data]\nsorce = "digits"\n',
            r"\[data\] has no key 'sorce'; did you mean 'source'\?",
        ),
        (
            MINIMAL + "labels = ['a', 'b']\nvalues = [2, 1]\n",
            r"data: values must rise .*, got \[2\.0, 1\.0\]$",
        ),
        (
            TRIAGE + "actoins = ['a']\n",
            r"\[decision\.profiles\.triage\] has no key 'actoins'; .*'actions'\?",
        ),
        (
            TRIAGE + "csot = [[0, 1]]\n",
            r"triage\] has no key 'csot'; did you mean 'cost'\? \(allowed: actions, ",
        ),
        (TRIAGE + "abstain = 1\n", r"\[decision\.profiles\.triage\] needs the key 'cost'"),
        (TRIAGE + "cost = []\n", r"profiles\.triage\.cost: .*at least 1 item"),
        (TRIAGE + "cost = [[0, 1], [1]]\n", r"triage: cost\[1\] must have 2 entries, .*, got \[1\.0\]$"),
        (
            TRIAGE + "actions = ['a', 'b', 'c']\ncost = [[0, 1]]\n",
            r"cost\[0\] must have 3 entries, .*\[0\.0, 1\.0\]",
        ),
        (TRIAGE + "actions = ['a', 'a']\ncost = [[0, 1]]\n", r"an action is named twice: \['a', 'a'\]"),
        (
            TRIAGE + "actions = ['a', '']\ncost = [[0, 1]]\n",
            r"triage\.actions\.1: .*at least 1 character, got ''",
        ),
        (
            TRIAGE + "actions = ['a']\ncost = [[0], [1]]\n",
            r"at least two actions to decide between, cost has 1",
        ),
        (TRIAGE + "cost = [[0, -1]]\n", r"triage\.cost\.0\.1: .*greater than or equal to 0, got -1"),
        (TRIAGE + "cost = [[0, inf]]\n", r"triage\.cost\.0\.1: .*finite number, got inf"),
        (TRIAGE + "cost = [[0, 1]]\nabstain = nan\n", r"triage\.abstain: .*, got nan"),
        (
            MINIMAL + "[decision.profiles.'my own']\ncost = [[0, 1]]\n",
            r"profiles\.my own: .*match pattern .*'my own'",
        ),
        (
            MINIMAL + "[decision.profiles.cyclic]\ncost = [[0, 1]]\n",
            r"'cyclic' is built in; .* another name",
        ),
        (
            MINIMAL + "[decision]\nprofile = 'triag'\n[decision.profiles.triage]\ncost = [[0, 1]]\n",
            r"\.profile: no profile is named 'triag'; did you mean 'triage'\? \(allowed: .*triage\)$",
        ),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    """A wrong config says where it is wrong and what would be right."""
    with pytest.raises(InputError, match=message) as raised:
        load_config(_write(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A config that is not there is an error with its path."""
    with pytest.raises(InputError, match=r"nowhere\.toml' cannot be read: No such file"):
        load_config(tmp_path / "nowhere.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """A config in another encoding is an error and not a traceback."""
    path = tmp_path / "model.toml"
    path.write_bytes(b'name = "\xff\xfe"')
    with pytest.raises(InputError, match="not UTF-8"):
        load_config(path)


def test_overrides_are_toml_values_or_strings(tmp_path: Path) -> None:
    """`--set` changes nested keys, makes missing tables, and needs no quotes for words."""
    overrides = ("search.epochs=7", "model.hidden=[8]", "decision.profile=quadratic")
    config = load_config(_write(tmp_path, MINIMAL), overrides)
    assert (config.search.epochs, config.model.hidden, config.decision.profile) == (7, (8,), "quadratic")


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    """A table below [decision.profiles] is a profile; one action may be to abstain."""
    text = 'actions = ["page"]\ncost = [[0], [1]]\nabstain = 0.25\n[decision]\nprofile = "triage"\n'
    decision = load_config(
        _write(tmp_path, TRIAGE + text), ("decision.profiles.triage.abstain=0.5",)
    ).decision
    assert decision.profile == "triage"
    assert decision.profiles == {
        "triage": Profile(actions=("page",), cost=((0.0,), (1.0,)), abstain=0.5),
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.epochs", "must be KEY=VALUE"),
        ("name.x=1", "'name' is not a table"),
        ("search.epoch=1", "did you mean 'epochs'"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    """An override is checked like the file."""
    with pytest.raises(InputError, match=message):
        load_config(_write(tmp_path, MINIMAL), (override,))


def test_every_key_explains_itself() -> None:
    """Each field of each section has a help text."""
    for section, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for key, inner in field.annotation.model_fields.items():
                assert inner.description, f"{section}.{key}"
    for key, inner in Profile.model_fields.items():
        assert inner.description, f"decision.profiles.NAME.{key}"


def test_the_examples_are_valid(root: Path) -> None:
    """Each TOML of examples/ can be loaded."""
    examples = sorted((root / "examples").glob("*.toml"))
    assert examples
    for example in examples:
        load_config(example)


EVERY_KEY = """
name = "wine"
[data]
source = "wine.csv"
label = "quality"
labels = ["3", "4", "5", "6"]
values = [3, 4, 5, 6]
topology = "linear"
features = ["alcohol", "pH"]
drop = ["row"]
categorical = ["pH"]
missing = ["", "-"]
unknown = "refuse"
encoding = "latin-1"
group = "vineyard"
weight = "bottles"
[split]
test = 0.2
calibration = 0.15
validation = 0.15
train_rows = 100
seed = 0
[model]
backbone = "mlp"
hidden = [64, 64]
dropout = 0.1
passes = 2
embedding = 4
precision = "mixed"
class_weight = "balanced"
[search]
losses = ["cross_entropy", "expected_value", { name = "cdw_ce", alpha = 3 }]
heads = ["softmax", "cumulative"]
trials = 12
workers = 2
epochs = 200
seconds = 600
refit = true
seed = 0
[decision]
profile = "triage"
under = 1.0
over = 1.0
scale = "steps"
coverage = 0.9
[decision.profiles.triage]
actions = ["page", "queue", "ignore"]
cost = [[5, 1, 0], [3, 0, 1], [2, 0, 4], [0, 2, 9]]
abstain = 1.5
[gate]
metric = "realised_cost"
margin = 0.0
confidence = 0.95
slice_margin = 0.05
slices = ["colour"]
min_slice_rows = 50
calibration_margin = 0.02
latency_ms = 50
[tracking]
uri = ""
experiment = "wine"
"""


def test_a_config_may_have_every_key(tmp_path: Path) -> None:
    """No key of the gate is left out here, and all are read."""
    config = load_config(_write(tmp_path, EVERY_KEY))
    assert config.gate.model_fields_set == set(Gate.model_fields)
    assert config.gate.slices == ("colour",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('label = "a"\ngroup = "a"\n', "column 'a' cannot be both label and group"),
        ('features = ["a", "a"]\n', "a feature is named twice"),
        ('label = "a"\ndrop = ["a"]\n', "column 'a' cannot be both label and drop"),
        ('encoding = "utf-88"\n', "no encoding is named 'utf-88'"),
        (
            'group = "a"\ntime = "b"\n',
            "rows are split one way: data.time and data.group cannot both be given",
        ),
        ("[split]\ncuts = [1, 2, 3]\n", "split.cuts need data.time"),
        ('time = "t"\n[split]\ncuts = [1, 2]\n', "cuts are three"),
        (
            '[model]\nbackbone = "mpl"\n',
            r"no backbone is named 'mpl'; did you mean 'mlp'\? \(allowed: mlp, cnn",
        ),
        ('[model]\nbackbone = "nets:"\n', "no backbone is named 'nets:'"),
        (
            'label = "a"\ncategorical = ["b", "a"]\n',
            "data: column 'a' is in categorical, and not a feature: it is label$",
        ),
        ('drop = ["a"]\ncategorical = ["a"]\n', "column 'a' is in categorical, .*: it is drop$"),
        ('group = "a"\ncategorical = ["a"]\n', "column 'a' is in categorical, .*: it is group$"),
        (
            'features = ["a"]\ncategorical = ["b"]\n',
            "column 'b' is in categorical, and not a feature; name it in features too$",
        ),
        (
            "[split]\ncuts = [1, 2, 3]\n",
            r"model.toml': split.cuts need data.time, the column that they cut$",
        ),
        ("image_size = [64]\n", r"data.image_size: must have 2 entries or more, got \[64\]$"),
        ("image_size = []\n", r"data.image_size: must have .*, got \[\]$"),
        ('drop = "c"\n', r"""data.drop: must be a list, such as \["c"\], got 'c'$"""),
        ("[split]\ncuts = 5\n", r"split.cuts: must be a list, such as \[5\], got 5$"),
        ("drop = { a = 1 }\n", r"data.drop: must be a list, such as \[…\], got \{'a': 1\}$"),
        ("image_size = [0, 8]\n", "data.image_size.0: Input should be greater than 0"),
    ],
)
def test_columns_and_splits_that_cannot_be_are_named(text: str, message: str, tmp_path: Path) -> None:
    """Roles that exclude each other, and splits of two ways, are one sentence."""
    with pytest.raises(InputError, match=message) as raised:
        load_config(_write(tmp_path, MINIMAL + text))
    assert "\n" not in str(raised.value)


RANGED = 'losses = [{ name = "cdw_ce", alpha = { '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            RANGED + "low = 1 } }]\n",
            r"search.losses.0: a range has low and high, or choices: \{ low = 0.0, high = 0.5 \}$",
        ),
        (
            RANGED + "low = 1, hihg = 2 } }]\n",
            r"a range has no key 'hihg'; did you mean 'high'\? \(allowed: low, high, log, choices\)$",
        ),
        (RANGED + 'low = "a", high = 2 } }]\n', "search.losses.0: low: Input should be a valid"),
        (RANGED + "low = 2, high = 2 } }]\n", "low must be below high, got 2 and 2$"),
        (
            RANGED + "low = 0, high = 2, log = true } }]\n",
            "low must be above 0 on a logarithmic scale, got 0$",
        ),
        (RANGED + "low = 0, choices = [1] } }]\n", "choices stand alone, without low, high and log$"),
        (
            "space.dropout = { low = 0.0, high = 1.5 }\n",
            "search.space.dropout: Input should be less than 1, got 1.5$",
        ),
        (
            "space.hidden = { low = 1, high = 2 }\n",
            "search.space.hidden: Input should be a valid tuple, got 1$",
        ),
        (
            "space.hiden = { choices = [[1]] }\n",
            r"\[search.space\] has no key 'hiden'; did you mean 'hidden'\?",
        ),
        (
            'sampler = "grid"\nspace.dropout = { low = 0.0, high = 0.5 }\n',
            "sampler 'grid' draws nothing, but dropout has a range: use 'tpe' or 'random'$",
        ),
    ],
)
def test_a_range_that_cannot_be_is_named(text: str, message: str, tmp_path: Path) -> None:
    """Where it stands, what is wrong with it, and what would be right, in one sentence."""
    with pytest.raises(InputError, match=message) as raised:
        load_config(_write(tmp_path, MINIMAL + "[search]\n" + text))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "draws"),
    [
        ("", "grid"),
        ('sampler = "random"\n', "random"),
        ("space.dropout = { choices = [0.1, 0.2] }\n", "tpe"),
        (RANGED + "low = 1.0, high = 5.0 } }]\n", "tpe"),
    ],
)
def test_something_is_drawn_where_something_has_a_range(text: str, draws: str, tmp_path: Path) -> None:
    """Without a range trials differ in their seeds only, unless the config says otherwise."""
    assert load_config(_write(tmp_path, MINIMAL + "[search]\n" + text)).search.draws == draws


def test_a_feature_may_be_a_category_and_what_rows_belong_to(tmp_path: Path) -> None:
    """A group is a feature where it is named as one."""
    text = 'group = "a"\nfeatures = ["a", "b"]\ncategorical = ["a"]\n'
    assert load_config(_write(tmp_path, MINIMAL + text)).data.categorical == ("a",)


def test_what_prefect_shows_of_a_config_has_no_secret(tmp_path: Path) -> None:
    """Neither a password in the store's address nor who is told is in what is written as JSON."""
    text = (
        MINIMAL
        + """[tracking]
uri = "postgresql://me:s3cret@db/mlflow"
[notify]
webhook = "https://hooks.example.com/s3cret"
command = ["page", "--token", "s3cret"]
"""
    )
    config = load_config(_write(tmp_path, text))
    assert config.tracking.uri == "postgresql://me:s3cret@db/mlflow"
    assert config.notify.command == ("page", "--token", "s3cret")
    shown = config.model_dump_json()
    assert "postgresql://me:…@db/mlflow" in shown
    assert "s3cret" not in shown
    assert "notify" not in config.model_dump()
