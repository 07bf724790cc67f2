"""The step `register_model`."""

from kfp import dsl


def register_model(
    exported: dsl.Input[dsl.Model],
    verdict: dsl.Input[dsl.Artifact],
    export: dict,
    registered: dsl.Output[dsl.Artifact],
    version: dsl.OutputPath(str),  # type: ignore[valid-type]  # KFP's form of an output parameter
):
    """Registers the exported model in MLflow as a version, and makes it the champion if it has passed the gate.

    It is never taken from the cache. Repeating it changes nothing.

    Args:
        exported: Output of export_model.
        verdict: Output of gate_model.
        export: Section `export` of the config, with the name of the registered model.

    Returns:
        registered: Version, aliases, and what happened.
        version: Address of the version, such as models:/digits/3.
    """
    from pathlib import Path

    from ganlib import steps
    from ganlib.export import ExportConfig
    from ganlib.export.register import register
    from ganlib.selection.verdict import Verdict

    with steps.step("register_model", registered):
        config = ExportConfig.model_validate(export)
        result = register(Path(exported.path), Verdict.open(verdict.path), config, Path(registered.path))
        steps.add_metadata(registered, result.to_json())
        Path(version).write_text(result.uri, encoding="utf-8")
