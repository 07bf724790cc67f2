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
    """Trains the networks, goes on where an interrupted run stopped, and keeps the best and the last generator.

    Args:
        dataset: Prepared images.
        reference: Yardstick that the best generator is chosen by.
        task: Section task of the config.
        model: Section model of the config.
        objective: Section objective of the config.
        training: Section training of the config.
        job: Identifier of the pipeline job, which its checkpoints and its run bear; may be empty.
        trained: Both generators, history, sample pictures.
        samples: Page with the last sample picture.
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
        resolve_strategy(config.replicas, config.strategy)  # before anything touches TensorFlow
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
