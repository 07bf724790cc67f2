"""The base class of all configs: frozen, strict about names, lossless as a KFP parameter."""

import json
from types import NoneType
from typing import Literal, get_args

import pytest
from pydantic import ValidationError

from ganlib.config import RunConfig
from ganlib.models import Dcgan
from ganlib.objectives import AnyObjective, Minimax
from ganlib.schema import MAX_SHOWN, Config, parse, problems


def reachable(annotation, result=None):
    """Returns all config classes that can occur in a field of this type, directly or nested."""
    result = set() if result is None else result
    if isinstance(annotation, type) and issubclass(annotation, Config):
        if annotation not in result:
            result.add(annotation)
            for field in annotation.model_fields.values():
                reachable(field.annotation, result)
    else:
        for argument in get_args(annotation):
            reachable(argument, result)
    return result


CLASSES = sorted(reachable(RunConfig), key=lambda kind: kind.__name__)


def through_kfp(value):
    """Converts a value like a KFP parameter: to JSON, with every number as a float."""
    if isinstance(value, dict):
        return {name: through_kfp(item) for name, item in value.items()}
    if isinstance(value, list):
        return [through_kfp(item) for item in value]
    assert value is not None, "KFP refuses None inside a dict"
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def example(kind):
    """Returns a config of a class, with a value for every required field."""
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    return kind(**dict.fromkeys(required, "somewhere"))


def messages(kind, value):
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(value)
    return problems(caught.value)


def test_the_walk_finds_sections_and_variants():
    names = {kind.__name__ for kind in CLASSES}
    assert {"RunConfig", "DataConfig", "TrainConfig", "Adam", "ImageFolder", "Arrays", "Dcgan", "Minimax"} <= names
    assert {"EvaluationConfig", "ExportConfig", "NetworkSettings", "Rotation", "Generation"} <= names


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_optional_field_is_absent_by_default(kind):
    for name, field in kind.model_fields.items():
        if NoneType in get_args(field.annotation):
            assert field.default is None, f"{kind.__name__}.{name} would lose its None on the way through KFP"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_config_survives_the_way_through_a_kfp_parameter(kind):
    config = example(kind)
    parameter = json.loads(json.dumps(through_kfp(config.to_parameter())))
    again = kind.model_validate(parameter)
    assert again == config
    assert json.dumps(again.to_parameter()) == json.dumps(config.to_parameter())  # 100 again, not 100.0


def test_a_whole_run_with_other_than_default_values_survives_it_too():
    config = RunConfig.model_validate(
        {
            "data": {"source": {"kind": "arrays", "path": "a.npz", "test_fraction": 0.25}, "size": 32, "colour": "rgb"},
            "objective": "minimax",
            "training": {"replicas": 2, "seed": 2**31 - 1, "deterministic": False, "home": "there"},
            "evaluation": {"extractor": {"kind": "rotation", "network": {"epochs": 3}}, "samples": 77},
        }
    )
    parameters = json.loads(json.dumps(through_kfp(config.to_parameters())))
    again = RunConfig.model_validate(parameters)
    assert again == config
    assert again.training.seed == 2**31 - 1
    assert isinstance(again.training.replicas, int)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_config_is_frozen_and_refuses_unknown_names(kind):
    config = example(kind)
    name = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, name, getattr(config, name))
    values = {**config.to_parameter(), "no_such_option": 1}
    assert messages(kind, values) == ["no_such_option: unknown option. Received: no_such_option=1"]


def test_half_a_step_and_infinity_are_no_settings():
    assert messages(RunConfig, {"training": {"steps": 10.5}})[0].endswith("Received: steps=10.5")
    [line] = messages(RunConfig, {"training": {"ema_decay": float("nan")}})
    assert line == "training.ema_decay: Input should be a finite number. Received: ema_decay=nan"


def test_a_plain_name_selects_a_variant():
    assert parse(AnyObjective, "minimax") == Minimax()
    assert RunConfig.model_validate({"model": "dcgan"}).model == Dcgan()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"model": {"kind": "dcgan", "width": "w"}}, "model.width: Input should be a valid integer"),
        (
            {"task": {"kind": "generation", "latent_dim": 0}},
            "task.latent_dim: Input should be greater than or equal to 1",
        ),
        ({"data": {"source": {"kind": "image_folder"}}}, "data.source.path: this option is required"),
        (
            {"evaluation": {"extractor": {"kind": "rotation", "network": {"epochs": 0}}}},
            "evaluation.extractor.network.",
        ),
        ({"objective": {"kind": "minimax", "weight": 1}}, "objective.weight: unknown option. Received: weight=1"),
        ({"objective": "unknown"}, "objective: expected one of 'minimax', 'non_saturating', 'least_squares', "),
        ({"objective": {"discriminator_steps": 2}}, "objective: expected `kind`, the variant's name. Received: "),
    ],
)
def test_a_mistake_is_reported_under_the_name_that_the_user_wrote(value, line):
    [message] = messages(RunConfig, value)
    assert message.startswith(line)
    assert "Received: " in message
    assert "\n" not in message


def test_a_mistake_across_fields_keeps_its_own_message():
    assert messages(RunConfig, {"training": {"batch_size": 10, "replicas": 4}}) == [
        "training: expected a batch size that the replicas share evenly. Received: batch_size=10, replicas=4"
    ]


def test_every_name_gets_the_prefix_and_long_values_are_shortened():
    class Small(Config):
        kind: Literal["small"] = "small"
        number: int = 0

    with pytest.raises(ValidationError) as caught:
        Small.model_validate({"number": "x" * 1000})
    [line] = problems(caught.value, prefix="section")
    assert line.startswith("section.number: ")
    assert line.endswith("xxx...")
    assert len(line.partition("number=")[2]) == MAX_SHOWN
