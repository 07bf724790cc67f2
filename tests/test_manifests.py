"""The manifests of docs/serving.md are what KServe's schema allows."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE | re.DOTALL)
MANIFESTS = [yaml.safe_load(block) for block in BLOCKS]
SCHEMA = json.loads((ROOT / "tests" / "kserve_inferenceservice.json").read_text())["schema"]
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def problems(value, schema, where="manifest"):
    """Yields what a schema does not allow."""
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str):
            yield f"{where} is {value!r}"
        return
    kind = TYPES.get(schema.get("type"))
    if kind is None or where == "manifest.metadata":  # that of every object
        return
    if not isinstance(value, kind):
        yield f"{where} is {value!r}"
        return
    if kind is dict:
        yield from (f"{where} lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, part in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if known is None:
                yield f"{where} has {name}"
            else:
                yield from problems(part, known, f"{where}.{name}")
    if kind is list:
        for number, part in enumerate(value):
            yield from problems(part, schema["items"], f"{where}[{number}]")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["metadata"]["name"])
def test_a_manifest_is_what_kserve_takes(manifest):
    assert list(problems(manifest, SCHEMA)) == []
    assert (manifest["apiVersion"], manifest["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")


def test_a_manifest_with_a_wrong_name_or_type_is_found():
    wrong = copy.deepcopy(MANIFESTS[-1])
    predictor = wrong["spec"]["predictor"]
    predictor["canaryTrafficPercent"] = "10"
    predictor["model"]["storageURI"] = predictor["model"].pop("storageUri")
    del predictor["model"]["modelFormat"]["name"]
    where = "manifest.spec.predictor"
    assert set(problems(wrong, SCHEMA)) == {
        f"{where}.canaryTrafficPercent is '10'",
        f"{where}.model has storageURI",
        f"{where}.model.modelFormat lacks name",
    }
