"""The training pipeline: prepare data, measure the reference, train, evaluate, export."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kfp import compiler, dsl
from kfp.dsl.base_component import BaseComponent

from components.check_inputs import check_inputs
from components.evaluate_gan import evaluate_gan
from components.export_model import export_model
from components.gate_model import gate_model
from components.measure_reference import measure_reference
from components.merge_parts import merge_parts
from components.prepare_data import prepare_data
from components.prepare_part import prepare_part
from components.register_model import register_model
from components.train_gan import train_gan
from components.train_on_workers import train_on_workers
from ganlib import __version__
from ganlib.config import RunConfig
from ganlib.storage import canonical_json
from ganlib.training.config import JOB_PLACE
from ganlib.workers import WORKERS_VARIABLE
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.platform import Platform
from pipelines.kubeflow.pods import configure_task
from pipelines.kubeflow.vertex import Vertex
from pipelines.kubeflow.workers import step_of_workers, workers_of

NAME = "gan-training"
DEFAULT_IMAGE = f"gan-pipelines:{__version__}-python3.11"
DEFAULT_IN_COMMENT = re.compile(r"^(#.*) \[Default: .*\]$", re.MULTILINE)


def build_pipeline(config: RunConfig, *, image: str = DEFAULT_IMAGE, platform: Platform | None = None) -> BaseComponent:
    """Builds the pipeline with the values of a config as defaults of its parameters.

    It is a factory because KFP traces the body of a pipeline when it is decorated: everything that the body depends on
    must be an argument here.

    Args:
        config: Defaults of the parameters. Each section is one dict, so that a change in one section leaves the cached
            steps of the others valid.
        image: Container image of all steps. It is part of the cache key, so use its digest.
        platform: Platform and resources of the steps; None means this machine, where one step prepares the images,
            because it uses all cores, and whoever starts the run has checked them.

    Returns:
        The pipeline, for the compiler or to call with `kfp.local`.
    """
    defaults = config.to_parameters()
    job = ""
    if platform is not None and platform.checkpoints:
        defaults["training"].setdefault("home", f"{platform.checkpoints.rstrip('/')}/{JOB_PLACE}")
        # On Vertex, only a parameter can pass the job's identifier to a step. Elsewhere it would change the cache key.
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER if isinstance(platform, Vertex) else ""
    begin, train = first_steps(config, image, platform), component_of(train_gan, image, platform)
    if isinstance(platform, Kubernetes) and platform.workers > 1:
        train = _train_on_workers(image, platform)
    finish, outputs = last_steps(config, image, platform, outputs=Outputs)

    def pipeline(  # noqa: ANN202  # the return type is set below, where KFP can resolve it
        data: dict = defaults["data"],  # KFP copies the defaults into the spec
        task: dict = defaults["task"],
        model: dict = defaults["model"],
        objective: dict = defaults["objective"],
        training: dict = defaults["training"],
        evaluation: dict = defaults["evaluation"],
        export_settings: dict = defaults["export"],
    ):
        """Trains a GAN on images, scores its generated images and exports the generator.

        Args:
            data: Source of the images, and their common size and colour.
            task: What the generator generates.
            model: Architecture of the networks.
            objective: Losses of the networks.
            training: Training settings.
            evaluation: Settings of the scores.
            export_settings: Settings of the exported model.

        Returns:
            dataset: Prepared images.
            reference: Feature extractor and statistics of the real images.
            trained: Both generators, history and sample images.
            scores: Scores of generated and of real images; its file has their errors and their protocol.
            report: HTML page with images, curves, scores and config.
            exported: SavedModel, Keras file and model card.
            verdict: Decision of the gate with its reasons.
            decision: promote or refuse: what became of it in the registry if there is one, else that of the gate.
            registered: Version and aliases in the MLflow registry.
            version: Address of the version.
        """
        dataset, reference, task = begin(data=data, task=task, evaluation=evaluation)
        trained = train(
            dataset=dataset,
            reference=reference,
            task=task,
            model=model,
            objective=objective,
            training=training,
            job=job,
        ).outputs["trained"]
        made = finish(
            trained=trained, dataset=dataset, reference=reference, evaluation=evaluation, export=export_settings
        )
        return outputs(dataset=dataset, reference=reference, trained=trained, **made)

    pipeline.__annotations__["return"] = outputs
    return dsl.pipeline(name=NAME, description="Trains, evaluates and exports a GAN.")(pipeline)


def compile_pipeline(
    config: RunConfig, output: Path, *, image: str = DEFAULT_IMAGE, platform: Platform | None = None
) -> None:
    """Writes the pipeline as ASCII YAML. The same config gives the same bytes.

    Pod settings are a second document in the file, which is left out for Vertex: its client cannot read it.

    Args:
        config: Defaults of the parameters.
        output: File to write; its name must end in `.yaml`.
        image: Container image of all steps.
        platform: Platform and resources of the steps; None means Kubernetes with its defaults.
    """
    write_yaml(build_pipeline(config, image=image, platform=platform or Kubernetes()), output)


def write_yaml(component: BaseComponent, output: Path) -> None:
    """Writes a pipeline or a component as ASCII YAML, with the same bytes in every process."""
    compiler.Compiler().compile(component, str(output))
    # KFP repeats the defaults in a comment, unescaped and in an order that differs between processes.
    output.write_text(DEFAULT_IN_COMMENT.sub(r"\1", output.read_text(encoding="utf-8")), encoding="ascii")


class Outputs(NamedTuple):
    """Output artifacts of the pipeline."""

    dataset: dsl.Dataset
    reference: dsl.Artifact
    trained: dsl.Model
    scores: dsl.Metrics
    report: dsl.HTML
    exported: dsl.Model


def first_steps(config: RunConfig, image: str, platform: Platform | None) -> Callable[..., tuple[Any, Any, Any]]:
    """Returns a factory of the steps before training, which gives the dataset, the reference, and the task.

    On a platform the task has the checksums of its masks then.
    """
    check = None if platform is None else component_of(check_inputs, image, platform)
    prepare, measure = _prepare_step(config, image, platform), component_of(measure_reference, image, platform)

    def begin(*, data: Any, task: Any, evaluation: Any) -> tuple[Any, Any, Any]:
        if check is not None:
            checked = check(data=data, task=task).set_caching_options(enable_caching=False)
            data, task = checked.outputs["checked_data"], checked.outputs["checked_task"]
        dataset = prepare(data=data).outputs["dataset"]
        return dataset, measure(dataset=dataset, task=task, evaluation=evaluation).outputs["reference"], task

    return begin


def last_steps(
    config: RunConfig, image: str, platform: Platform | None, *, outputs: type
) -> tuple[Callable[..., dict[str, Any]], Any]:
    """Returns a factory of the steps after training, and the type of the pipeline's outputs.

    The factory gives outputs by name: those of the scores and of the export, and of the gate and the registration, if
    they are set.

    Args:
        config: Holds the thresholds and the name of the registered model.
        image: Container image of the steps.
        platform: Platform and resources of the steps.
        outputs: Type of the outputs without a gate.
    """
    evaluate, export_ = (component_of(function, image, platform) for function in (evaluate_gan, export_model))
    names: dict[str, Any] = {}
    if config.export.gate is not None or config.export.registered_model is not None:
        decide = component_of(gate_model, image, platform)
        names |= {"verdict": dsl.Artifact, "decision": str}
    if config.export.registered_model is not None:
        register = component_of(register_model, image, platform)
        names |= {"registered": dsl.Artifact, "version": str}

    def finish(*, trained: Any, dataset: Any, reference: Any, evaluation: Any, export: Any) -> dict[str, Any]:
        inputs = {"trained": trained, "dataset": dataset, "reference": reference}
        scored = evaluate(**inputs, evaluation=evaluation)
        exported = export_(trained=trained, scores=scored.outputs["scores"], export=export).outputs["exported"]
        made: dict[str, Any] = {}
        if "verdict" in names:
            task = decide(**inputs, exported=exported, export=export).set_caching_options(enable_caching=False)
            made |= task.outputs
        if "registered" in names:
            task = register(exported=exported, export=export, verdict=made["verdict"])
            made |= task.set_caching_options(enable_caching=False).outputs  # its `decision` is the last word
        shipped = {"scores": scored.outputs["scores"], "report": scored.outputs["report"], "exported": exported}
        return shipped | {name: made[name] for name in names}

    fields = [*outputs.__annotations__.items(), *names.items()]
    return finish, NamedTuple("Outputs", fields) if names else outputs


def _prepare_step(config: RunConfig, image: str, platform: Platform | None) -> Callable[..., Any]:
    """Returns a factory of the step prepare_data or, on a platform, of several tasks that share its work."""
    tasks = 1 if platform is None else min(config.data.shards, platform.prepare_tasks)
    return component_of(prepare_data, image, platform) if tasks == 1 else _prepare_in_parts(tasks, image, platform)


def _prepare_in_parts(tasks: int, image: str, platform: Platform | None) -> Callable[..., Any]:
    """Returns a replacement for the step prepare_data, with the same outputs, that prepares the images in parts."""
    prepare, merge = (
        component_of(function, image, platform, step="prepare_data") for function in (prepare_part, merge_parts)
    )

    def prepare_all(data: Any) -> Any:
        with dsl.ParallelFor(list(range(tasks)), parallelism=tasks) as part:
            prepared = prepare(data=data, part=part, of=tasks)
        return merge(data=data, parts=dsl.Collected(prepared.outputs["images"]))

    return prepare_all


def _train_on_workers(image: str, platform: Kubernetes) -> Callable[..., Any]:
    """Returns a replacement for the step train_gan that hands its work to several machines."""
    create = component_of(train_on_workers, image, step_of_workers(platform), step="train_gan")
    settings = canonical_json(workers_of(image, platform).to_parameter())

    def train(**inputs: Any) -> Any:
        # A variable, like all settings of pods: a parameter would be part of the cache key.
        return create(**inputs).set_env_variable(WORKERS_VARIABLE, settings)

    return train


def component_of(
    function: Callable[..., Any], image: str, platform: Platform | None, *, step: str | None = None
) -> Callable[..., dsl.PipelineTask]:
    """Returns a factory of tasks that run a function with the platform settings of `step` (default: the function)."""
    # The image has kfp already: without install_kfp_package=False, every pod would run pip.
    component = dsl.component(function, base_image=image, install_kfp_package=False)

    def create(**inputs: Any) -> dsl.PipelineTask:
        task = component(**inputs)
        if platform is not None:
            configure_task(task, step=step or function.__name__, platform=platform)
        return task

    return create
