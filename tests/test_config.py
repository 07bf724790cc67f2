"""A whole run as one object: its documentation, its schema, and the rules across sections."""

import pytest
from pydantic import ValidationError

from ganlib.config import RunConfig
from ganlib.schema import problems


def test_the_defaults_are_the_classic_network_at_its_size():
    config = RunConfig()
    assert config.data.image_shape == (28, 28, 1)
    assert (config.model.kind, config.objective.kind, config.task.kind) == ("dcgan", "non_saturating", "generation")


def test_there_is_one_parameter_a_section_and_it_holds_only_plain_values():
    parameters = RunConfig().to_parameters()
    assert list(parameters) == ["data", "task", "model", "objective", "training", "evaluation", "export"]
    assert parameters["data"]["source"] == {"kind": "digits"}
    assert "extractor" not in parameters["evaluation"]
    assert RunConfig.model_validate(parameters) == RunConfig()


@pytest.mark.parametrize("size", [8, 30, 132])
def test_a_size_that_the_network_cannot_reach_is_refused_before_anything_is_built(size):
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"data": {"size": size}})
    [line] = problems(caught.value)
    assert "dcgan serves square images of 16 to 128 pixels a side in steps of 4" in line
    assert line.endswith(f"Received: size={size}x{size}")


def test_every_field_has_a_meaning_in_the_schema():
    schema = RunConfig.model_json_schema()
    nodes = {"": schema, **schema["$defs"]}
    fields = {f"{owner}.{name}": field for owner, node in nodes.items() for name, field in node["properties"].items()}
    empty = [name for name, field in fields.items() if not name.endswith(".kind") and not field.get("description")]
    assert len(fields) > 40
    assert not empty
