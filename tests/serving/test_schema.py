"""The JSON Schema of the manifest, for whoever reads or writes one without this package."""

import json

import jsonschema
import pytest

from serving import manifest
from serving.errors import ArtifactError

PATH = "serving/manifest.schema.json"


@pytest.fixture(scope="module")
def validator(root):
    """What checks a document against the file in the repository."""
    schema = json.loads((root / PATH).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def content(wine):
    """A right manifest, to be spoiled."""
    return json.loads(wine.manifest.to_json())


def replaced(content, place, value):
    """Put `value` at a place such as `profiles.absolute.cost.0.1`; ... takes the place away."""
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    for part in way:
        content = content[part]
    if value is ...:
        del content[last]
    else:
        content[last] = value


def test_the_schema_is_what_the_code_makes(root):
    """A change of the manifest without its schema fails here."""
    assert (root / PATH).read_text(encoding="utf-8") == manifest.json_schema(), f"{PATH}: run make docs"


def test_real_manifests_fit(validator, wine, digits, cars):
    """Tables' and an image's are valid, in full and with defaults left out, all but the version."""
    for made in (wine, digits, cars):
        validator.validate(json.loads(made.manifest.to_json()))
        short = json.loads(made.manifest.model_dump_json(exclude_defaults=True))
        validator.validate(short | {"schema_version": manifest.SCHEMA_VERSION})


MISTAKES = {
    "unknown schema version": ("schema_version", 99, "schema version 99"),
    "no schema version": (
        "schema_version",
        ...,
        "no schema version; this version of ordinal understands 1",
    ),
    "unknown key": ("epochs", 3, "epochs: "),
    "unknown key inside": ("interval.levels", 3, "interval.levels: "),
    "missing labels": ("labels", ..., "labels: "),
    "one label": ("labels", ["a"], "labels: "),
    "two labels of one name": ("labels", ["a", "b", "c", "d", "a"], "two labels have the same name"),
    "a label that is no text": ("labels.0", 3, "labels.0: "),
    "negative cost": ("profiles.absolute.cost.0.1", -1, "profiles.absolute.cost.0.1: "),
    "cost as large as the padding": ("profiles.absolute.cost.0.1", 1e30, "profiles.absolute.cost.0.1: "),
    "one action": ("profiles.triage.actions", ["page"], "profiles.triage.actions: "),
    "no profiles": ("profiles", {}, "profiles: "),
    "unknown topology": ("topology.kind", "tree", "topology.kind: "),
    "no period": ("topology", {"kind": "cyclic", "period": 0}, "topology.period: "),
    "no inputs": ("inputs", [], "inputs: "),
    "unknown type": ("inputs.0.dtype", "float64", "inputs.0.dtype: "),
    "range without an end": ("inputs.0.ranges.1", [0], "inputs.0.ranges.1.1: "),
    "a feature that may be missing twice": ("inputs.0.missing", ["pH", "pH"], "inputs.0: "),
    "a text for a missing value twice": ("inputs.0.missing_texts", ["?", "?"], "inputs.0: "),
    "a list of categories without any": ("inputs.0.categories", [[]], "inputs.0.categories.0: "),
    "an empty category": ("inputs.0.categories", [["a", ""]], "inputs.0.categories.0.1: "),
    "a category twice": ("inputs.0.categories", [["a", "b", "a"]], "inputs.0: "),
    "a category that is no text": ("inputs.0.categories", [["a", 2]], "inputs.0.categories.0.1: "),
    "unknown ones neither taken nor refused": ("inputs.0.unknown_allowed", None, "unknown_allowed: "),
    "no members": ("members", [], "members: "),
    "no passes": ("passes", 0, "passes: "),
    "unknown calibration": ("calibration.method", "isotonic", "calibration.method: "),
    "coverage of 1": ("interval.coverage", 1, "interval.coverage: "),
    "no calibration rows": ("interval.rows", 0, "interval.rows: "),
    "not a date": ("provenance.created", 3.5e99, "provenance.created: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_by_schema_and_loader(validator, content, mistake):
    """Both find it, and both name the place."""
    place, value, said = MISTAKES[mistake]
    replaced(content, place, value)
    errors = list(validator.iter_errors(content))
    key = [part for part in place.split(".") if not part.isdigit()][-1]
    assert any(key in [*error.absolute_path, *error.message.split("'")] for error in errors), errors
    with pytest.raises(ArtifactError) as caught:
        manifest.Manifest.from_json(json.dumps(content), origin="bad.onnx")
    assert str(caught.value).startswith("bad.onnx: ")
    assert said in str(caught.value)


NUMERIC = {
    "name": "numeric",
    "dtype": "float32",
    "shape": [2],
    "features": ["a", "b"],
    "ranges": [[0, 1]] * 2,
}
CATEGORICAL = {
    "name": "categorical",
    "dtype": "string",
    "shape": [2],
    "features": ["c", "d"],
    "categories": [["red", "green"], ["small"]],
}
IMAGE = {"name": "image", "dtype": "uint8", "shape": [8, 8, 1], "ranges": [[0, 16]]}
BROKEN_RULES = {
    "there are as many values as labels": ("values", [1, 2], "5 labels but 2 values"),
    "values rise from label to label": ("values", [1, 2, 3, 4, 4], "values must rise"),
    "a cyclic topology has a period, a linear one has none": ("topology.kind", "cyclic", "has a period"),
    "a period is longer than the way from the first value to the last": (
        "topology",
        {"kind": "cyclic", "period": 8},
        "a period of 8 does not reach round",
    ),
    "the input 'numeric' is float32 and has a shape of one number, and that many features and ranges": (
        "inputs",
        [NUMERIC | {"ranges": [[0, 1]]}],
        "2 features that are numbers but 1 ranges",
    ),
    "the input 'categorical' is string and has a shape of one number, and that many features and lists of "
    "categories, but no ranges": (
        "inputs",
        [CATEGORICAL | {"categories": [["red"]]}],
        "2 features but 1 lists of categories",
    ),
    "the input 'image' is float32 or uint8 and has a shape of three numbers, no features, and one range": (
        "inputs",
        [IMAGE | {"shape": [8, 8]}],
        "an image is [height, width, channels]",
    ),
    "only the input 'categorical' has categories, and only it may refuse unknown ones": (
        "inputs",
        [NUMERIC | {"unknown_allowed": False}],
        "a numeric input has no categories, and so no unknown ones to refuse",
    ),
    "missing names features of its own input": (
        "inputs",
        [NUMERIC | {"missing": ["a", "c"]}, CATEGORICAL],
        "missing must name features of this input, and ['c'] are none",
    ),
    "no category stands for a missing value": (
        "inputs",
        [CATEGORICAL | {"missing_texts": ["?", "red"]}],
        "categories of 'c' cannot stand for a missing value too: ['red']",
    ),
    "no two inputs have a feature of the same name": (
        "inputs",
        [NUMERIC, CATEGORICAL | {"features": ["c", "b"]}],
        "a feature belongs to one input, and ['b'] to several",
    ),
    "no two inputs have the same name": ("inputs", [IMAGE, IMAGE], "two inputs have the same name"),
    "a profile has a row of costs for each label": (
        "profiles.triage.cost",
        [[0, 1, 2]],
        "has 1 rows for 5",
    ),
    "a row of costs has one for each action": (
        "profiles.triage.cost.2",
        [0, 1],
        "cost[2] has 2 entries for 3",
    ),
    "default_profile is the name of one of the profiles": ("default_profile", "x", "'x' is not one of"),
    "calibration has a slope and an offset for each label, or none where its method is none": (
        "calibration",
        {"method": "vector", "slopes": [1], "offsets": [0]},
        "has 1 slopes and 1 offsets for 5 labels",
    ),
}


def test_each_rule_beyond_the_schema_is_listed_in_it(validator):
    """Its description says what it cannot check, and each of these has a test below."""
    assert set(manifest.RULES) == set(BROKEN_RULES)
    for rule in manifest.RULES:
        assert rule in validator.schema["description"]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([NUMERIC | {"dtype": "uint8"}], "numeric must be float32, got uint8"),
        ([NUMERIC | {"dtype": "string"}], "numeric must be float32, got string"),
        ([IMAGE | {"dtype": "string"}], "image must be float32 or uint8, got string"),
        ([CATEGORICAL | {"dtype": "float32"}], "categorical must be string, got float32"),
        ([CATEGORICAL | {"shape": [3]}], "a categorical input names each feature: shape [3], 2 names"),
        ([CATEGORICAL | {"ranges": [[0, 1]] * 2}], "0 features that are numbers but 2 ranges"),
        ([NUMERIC | {"categories": [["red"]] * 2}], "a numeric input has no categories"),
        ([IMAGE | {"missing": ["a"]}], "missing must name features of this input, and ['a'] are none"),
    ],
)
def test_inputs_that_contradict_themselves_are_refused(content, inputs, said):
    """What belongs to one kind of input is refused in another."""
    content["inputs"] = inputs
    with pytest.raises(ArtifactError) as caught:
        manifest.Manifest.from_json(json.dumps(content), origin="bad.onnx")
    assert said in str(caught.value)


@pytest.mark.parametrize("rule", BROKEN_RULES)
def test_a_rule_beyond_the_schema_is_checked_by_the_loader(validator, content, rule):
    """What the schema lets pass is refused when the artifact is loaded."""
    place, value, said = BROKEN_RULES[rule]
    replaced(content, place, value)
    validator.validate(content)
    with pytest.raises(ArtifactError) as caught:
        manifest.Manifest.from_json(json.dumps(content), origin="bad.onnx")
    assert said in str(caught.value)
