"""The step `register_model`."""

from kfp import dsl


def register_model(
    exported: dsl.Input[dsl.Model],
    verdict: dsl.Input[dsl.Artifact],
    export: dict,
    registered: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    version: dsl.OutputPath(str),  # type: ignore[valid-type]  # KFP's form of an output parameter
    decision: dsl.OutputPath(str),  # type: ignore[valid-type]  # as above
):
    """Registers the exported model in MLflow as a version, and makes it the champion if it has passed the gate.

    It is never taken from the cache. Repeating it changes nothing.

    Args:
        exported: Output of export_model.
        verdict: Output of gate_model.
        export: Section `export` of the config, with the name of the registered model.

    Returns:
        registered: Version, what happened, and the verdict in the end.
        page: That verdict as an HTML page.
        version: Address of the version, such as models:/digits/3.
        decision: promote if the model has passed and is the champion now, else refuse. It differs from that of
            gate_model if another model became the champion in between, or this one was rolled back or replaced before.
    """
    from pathlib import Path

    from ganlib import steps, storage
    from ganlib.export import ExportConfig
    from ganlib.export.register import register
    from ganlib.selection.verdict import PAGE, Verdict

    with steps.step("register_model", registered):
        config = ExportConfig.model_validate(export)
        result = register(Path(exported.path), Verdict.open(verdict.path), config, Path(registered.path))
        steps.add_metadata(registered, result.to_json())
        storage.publish(Path(registered.path) / PAGE, Path(page.path))
        Path(version).write_text(result.uri, encoding="utf-8")
        Path(decision).write_text(result.decision, encoding="utf-8")
