"""A whole run as one object: its documentation, its schema, and the rules across sections."""

import re

import pytest
from pydantic import ValidationError

from ganlib.config import RunConfig
from ganlib.schema import problems
from pipelines.kubeflow.config import PipelineConfig


def test_the_defaults_are_the_classic_network_at_its_size():
    config = RunConfig()
    assert config.data.image_shape == (28, 28, 1)
    assert (config.model.kind, config.objective.kind, config.task.kind) == ("dcgan", "non_saturating", "generation")


def test_there_is_one_parameter_a_section_and_it_holds_only_plain_values():
    parameters = RunConfig().to_parameters()
    assert list(parameters) == ["data", "task", "model", "objective", "training", "evaluation", "export"]
    assert parameters["data"]["source"] == {"kind": "digits", "target": "none"}
    assert "extractor" not in parameters["evaluation"]
    assert RunConfig.model_validate(parameters) == RunConfig()


@pytest.mark.parametrize("size", [8, 30, 133])
def test_a_size_that_the_network_cannot_reach_is_refused_before_anything_is_built(size):
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"data": {"size": size}})
    [line] = problems(caught.value)
    assert "data.size: dcgan serves images of 16 to 1024 pixels a side in steps of 4" in line
    assert line.endswith(f"Received: size={size}x{size}")


def test_every_field_has_a_meaning_in_the_schema():
    schema = RunConfig.model_json_schema()
    nodes = {"": schema, **schema["$defs"]}
    fields = {f"{owner}.{name}": field for owner, node in nodes.items() for name, field in node["properties"].items()}
    empty = [name for name, field in fields.items() if not name.endswith(".kind") and not field.get("description")]
    assert len(fields) > 40
    assert not empty


SECRET_KEYS = {"platform": {"mlflow_secret_keys": ["MLFLOW_TRACKING_TOKEN"]}}
IDLE = {
    "colour among others": (
        {"training": {"augmentation": ["colour", "cutout"]}},
        r"colour does nothing to grey images.*Received: training\.augmentation=\[colour, cutout\], data\.colour=grey",
    ),
    "a decay beside a half-life": (
        {"training": {"ema_decay": 0.99, "ema_half_life": 1000}},
        r"training: expected either ema_half_life or ema_decay.*ema_half_life=1000, ema_decay=0\.99",
    ),
    "a fall that never comes": (
        {"training": {"decay_start_fraction": 0.5}},
        "training: decay_start_fraction is of no use",
    ),
    "a rhythm of no penalty": ({"objective": {"kind": "minimax", "r1_every": 4}}, "r1_every needs r1"),
    "rollbacks that never come": (
        {"training": {"health": {"non_finite": "stop", "collapsed": "note", "max_rollbacks": 7}}},
        r"training\.health: max_rollbacks is of no use where no reaction is roll_back\. Received: max_rollbacks=7, ",
    ),
    "gentler without a rollback": (
        {"training": {"health": {"non_finite": "stop", "collapsed": "note", "rollback_learning_rate_factor": 0.1}}},
        r"rollback_learning_rate_factor is of no use .*Received: rollback_learning_rate_factor=0\.1, non_finite=stop",
    ),
    "a bound below the width": (
        {"model": {"kind": "resnet", "width": 32, "max_width": 16}},
        r"expected max_width, the upper bound of the channels.*Received: width=32, max_width=16",
    ),
    "keys of no secret": (SECRET_KEYS, r"mlflow_secret_keys needs mlflow_secret\. Received: .*_TOKEN\]"),
    "a key of no secret": (
        {"platform": {"gcs_secret_key": "a.json"}},
        "gcs_secret_key needs gcs_secret",
    ),
    "GPUs for no step": ({"platform": {"gpus": 1, "gpu_steps": []}}, r"expected at least one step in gpu_steps"),
}


@pytest.mark.parametrize("name", IDLE)
def test_an_option_that_counts_for_nothing_is_refused(name):
    values, complaint = IDLE[name]
    with pytest.raises(ValidationError) as caught:
        PipelineConfig.model_validate({"platform": "kubernetes", **{k: _with_kind(k, v) for k, v in values.items()}})
    [line] = problems(caught.value)
    assert re.search(complaint, line), line


def _with_kind(section, values):
    return {"kind": "kubernetes", **values} if section == "platform" else values


@pytest.mark.parametrize(
    "values",
    [
        {"training": {"ema_half_life": 1000}},
        {"training": {"health": {"max_rollbacks": 7}}},
        {"training": {"augmentation": ["colour"]}, "data": {"colour": "rgb"}},
        {"model": {"kind": "resnet", "width": 128}},
        {"platform": {"kind": "kubernetes", "mlflow_secret": "s", "mlflow_secret_keys": ["K"]}},
    ],
)
def test_what_counts_is_taken_and_stays_valid_when_its_defaults_are_written_out(values):
    config = PipelineConfig.model_validate(values)
    assert PipelineConfig.model_validate(config.to_sections()) == config
