"""The step `train_gan` on several machines."""

from kfp import dsl


def train_on_workers(
    dataset: dsl.Input[dsl.Dataset],
    reference: dsl.Input[dsl.Artifact],
    task: dict,
    model: dict,
    objective: dict,
    training: dict,
    job: str,
    trained: dsl.Output[dsl.Model],
    samples: dsl.Output[dsl.HTML],
):
    """Trains the networks like train_gan, on several machines: hands its work to a TrainJob or TFJob and follows it.

    Args:
        dataset: Prepared images.
        reference: Output of measure_reference, by which the best generator is selected.
        task: Section `task` of the config.
        model: Section `model` of the config.
        objective: Section `objective` of the config.
        training: Section `training` of the config.
        job: Identifier of the pipeline job for the names of checkpoints and MLflow run; may be empty.

    Returns:
        trained: Both generators, history and sample images.
        samples: HTML page with the last sample image.
    """
    from pathlib import Path

    from ganlib import pixels, steps
    from ganlib.workers import hand_over

    with steps.step("train_gan", trained):
        result = hand_over(
            {"task": task, "model": model, "objective": objective, "training": training},
            job=job,
            dataset=Path(dataset.path),
            reference=Path(reference.path),
            output=Path(trained.path),
        )
        steps.add_metadata(trained, result.summary)
        picture = pixels.as_html(result.sample_pictures[-1], caption="samples of the last step")
        Path(samples.path).write_text(picture, encoding="utf-8")
