"""The step `train_gan`."""

from kfp import dsl


def train_gan(
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
    """Trains the networks, or resumes an interrupted training, and saves the best and the last generator.

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
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference
    from ganlib.models import AnyArchitecture
    from ganlib.objectives import AnyObjective
    from ganlib.schema import parse
    from ganlib.tasks import AnyTask
    from ganlib.training import TrainConfig, resolve_strategy, train

    with steps.step("train_gan", trained):
        config = TrainConfig.model_validate(training).of_job(job)
        resolve_strategy(config.replicas, config.strategy)  # before anything uses TensorFlow
        result = train(
            PreparedDataset.open(dataset.path),
            Reference.open(reference.path),
            task=parse(AnyTask, task),
            architecture=parse(AnyArchitecture, model),
            objective=parse(AnyObjective, objective),
            config=config,
            output=Path(trained.path),
        )
        steps.add_metadata(trained, result.summary)
        picture = pixels.as_html(result.sample_pictures[-1], caption="samples of the last step")
        Path(samples.path).write_text(picture, encoding="utf-8")
