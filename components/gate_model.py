"""The step `gate_model`."""

from kfp import dsl


def gate_model(
    trained: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Artifact],
    exported: dsl.Input[dsl.Model],
    export: dict,
    verdict: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    decision: dsl.OutputPath(str),  # type: ignore[valid-type]  # KFP's form of an output parameter
):
    """Decides whether the exported model may be promoted, and compares it with the champion of the registry.

    It is never taken from the cache, since the champion changes.

    Args:
        trained: Output of train_gan.
        dataset: Prepared images.
        reference: Output of measure_reference.
        exported: Output of export_model.
        export: Section `export` of the config, with the thresholds.

    Returns:
        verdict: The decision with the reason of each check.
        page: The same as an HTML page.
        decision: promote or refuse.
    """
    from pathlib import Path

    from ganlib import steps, storage
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference
    from ganlib.export import ExportConfig
    from ganlib.export.gate import Today, gate
    from ganlib.selection.verdict import PAGE
    from ganlib.training import TrainedModel

    with steps.step("gate_model", verdict):
        today = Today(
            TrainedModel.open(trained.path),
            PreparedDataset.open(dataset.path),
            Reference.open(reference.path),
        )
        config = ExportConfig.model_validate(export)
        result = gate(Path(exported.path), config, Path(verdict.path), today=today)
        steps.add_metadata(verdict, result.to_metadata())
        storage.publish(Path(verdict.path) / PAGE, Path(page.path))
        Path(decision).write_text(result.decision, encoding="utf-8")
