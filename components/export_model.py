"""The step `export_model`."""

from kfp import dsl


def export_model(
    trained: dsl.Input[dsl.Model],
    scores: dsl.Input[dsl.Metrics],
    export: dict,
    exported: dsl.Output[dsl.Model],
    card: dsl.Output[dsl.Markdown],
):
    """Exports the generator and checks, in a new process, that the exported model gives the same images.

    Args:
        trained: Output of train_gan.
        scores: Output of evaluate_gan.
        export: Section `export` of the config.

    Returns:
        exported: SavedModel, Keras and ONNX files, and model card.
        card: The model card, with its pictures inside.
    """
    from pathlib import Path

    from ganlib import steps
    from ganlib.evaluation import Evaluation
    from ganlib.export import ExportConfig
    from ganlib.export import export as export_generator
    from ganlib.training import TrainedModel

    with steps.step("export_model", exported):
        result = export_generator(
            TrainedModel.open(trained.path),
            Evaluation.open(scores.path),
            ExportConfig.model_validate(export),
            Path(exported.path),
        )
        steps.add_metadata(exported, result.summary)
        Path(card.path).write_text(result.page, encoding="utf-8")
