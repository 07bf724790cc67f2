"""The pipeline that takes images to a shipped generator: prepare, measure, train, evaluate, export."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kfp import compiler, dsl
from kfp.dsl.base_component import BaseComponent

from components.evaluate_gan import evaluate_gan
from components.export_model import export_model
from components.measure_reference import measure_reference
from components.merge_parts import merge_parts
from components.prepare_data import prepare_data
from components.prepare_part import prepare_part
from components.train_gan import train_gan
from ganlib import __version__
from ganlib.config import RunConfig
from ganlib.training.config import JOB_PLACE
from pipelines.kubeflow.platform import Kubernetes, Platform, Vertex
from pipelines.kubeflow.pods import place

NAME = "gan-training"
DEFAULT_IMAGE = f"gan-pipelines:{__version__}-python3.11"
PARTS_AT_ONCE = 32  # of a preparation in parts
DEFAULT_IN_COMMENT = re.compile(r"^(#.*) \[Default: .*\]$", re.MULTILINE)


def build_pipeline(
    config: RunConfig, *, image: str = DEFAULT_IMAGE, platform: Platform | None = None, parts: int | None = None
) -> BaseComponent:
    """Builds the pipeline with a config's values as its defaults.

    A factory, because KFP traces a pipeline's body when it is decorated: everything that the body
    depends on must be an argument here.

    Args:
        config: Defaults of the parameters, one dict a section: a change in one section leaves the
            cached steps of the others valid.
        image: Container image of every step; the cache key holds it, so name it by digest.
        platform: Where the steps run and with what; None means on this machine.
        parts: Tasks that prepare the images; more than one must be as many as `data.shards`, and absent means those.

    Returns:
        The pipeline, ready to be compiled or called under `kfp.local`.
    """
    defaults = config.to_parameters()
    job = ""
    if platform is not None and platform.checkpoints:
        defaults["training"].setdefault("home", f"{platform.checkpoints.rstrip('/')}/{JOB_PLACE}")
        # On Vertex nothing but a parameter tells a step its job; elsewhere it would spoil the step's cache key.
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER if isinstance(platform, Vertex) else ""
    prepare, measure, train, evaluate, export = (
        _component(function, image, platform)
        for function in (prepare_data, measure_reference, train_gan, evaluate_gan, export_model)
    )
    parts = parts or config.data.shards
    if parts > 1:
        prepare = _in_parts(parts, image, platform)

    def pipeline(  # noqa: ANN202  # the return type is set below, where KFP can resolve it
        data: dict = defaults["data"],  # KFP copies defaults into the spec
        task: dict = defaults["task"],
        model: dict = defaults["model"],
        objective: dict = defaults["objective"],
        training: dict = defaults["training"],
        evaluation: dict = defaults["evaluation"],
        export_settings: dict = defaults["export"],
    ):
        """Trains a GAN on images, scores it against real ones, and exports the generator.

        Args:
            data: Where the images come from, and their one shape.
            task: What the generator is asked to do.
            model: Which networks.
            objective: Which game they play.
            training: How they are trained.
            evaluation: How the result is judged.
            export_settings: What is shipped.
        """
        prepared = prepare(data=data)
        measured = measure(dataset=prepared.outputs["dataset"], task=task, evaluation=evaluation)
        trained = train(
            dataset=prepared.outputs["dataset"],
            reference=measured.outputs["reference"],
            task=task,
            model=model,
            objective=objective,
            training=training,
            job=job,
        )
        scored = evaluate(
            trained=trained.outputs["trained"],
            dataset=prepared.outputs["dataset"],
            reference=measured.outputs["reference"],
            evaluation=evaluation,
        )
        shipped = export(trained=trained.outputs["trained"], scores=scored.outputs["scores"], export=export_settings)
        return Outputs(
            dataset=prepared.outputs["dataset"],
            reference=measured.outputs["reference"],
            trained=trained.outputs["trained"],
            scores=scored.outputs["scores"],
            report=scored.outputs["report"],
            exported=shipped.outputs["exported"],
        )

    pipeline.__annotations__["return"] = Outputs
    return dsl.pipeline(name=NAME, description="Trains, judges and exports a GAN.")(pipeline)


def compile_pipeline(
    config: RunConfig, output: Path, *, image: str = DEFAULT_IMAGE, platform: Platform | None = None
) -> None:
    """Writes the pipeline as YAML: ASCII, and the same bytes for the same config.

    Settings of pods make a second document in the file; for Vertex, whose client cannot read one, there is none.

    Args:
        config: Defaults of the parameters.
        output: File to write; its name ends in `.yaml`.
        image: Container image of every step.
        platform: Where the steps run and with what; None means a Kubernetes cluster's own choices.
    """
    pipeline = build_pipeline(config, image=image, platform=platform or Kubernetes())
    compiler.Compiler().compile(pipeline, str(output))
    # KFP repeats the defaults in a comment, in an order that changes from process to process, and unescaped.
    output.write_text(DEFAULT_IN_COMMENT.sub(r"\1", output.read_text(encoding="utf-8")), encoding="ascii")


class Outputs(NamedTuple):
    """Artifacts that the pipeline hands back."""

    dataset: dsl.Dataset
    reference: dsl.Artifact
    trained: dsl.Model
    scores: dsl.Metrics
    report: dsl.HTML
    exported: dsl.Model


def _in_parts(parts: int, image: str, platform: Platform | None) -> Callable[..., Any]:
    """Returns what stands in the place of the step prepare_data, with the same outputs."""
    prepare, merge = (
        _component(function, image, platform, step="prepare_data") for function in (prepare_part, merge_parts)
    )

    def prepare_in_parts(data: Any) -> Any:
        with dsl.ParallelFor(list(range(parts)), parallelism=PARTS_AT_ONCE) as part:
            prepared = prepare(data=data, part=part, of=parts)
        return merge(data=data, parts=dsl.Collected(prepared.outputs["images"]))

    return prepare_in_parts


def _component(
    function: Callable[..., Any], image: str, platform: Platform | None, *, step: str | None = None
) -> Callable[..., dsl.PipelineTask]:
    """Returns what makes a task of a function; it gets what the platform has for `step`, by default its own."""
    # The image holds kfp already: without install_kfp_package=False every pod would run pip.
    component = dsl.component(function, base_image=image, install_kfp_package=False)

    def placed(**inputs: Any) -> dsl.PipelineTask:
        task = component(**inputs)
        if platform is not None:
            place(task, step=step or function.__name__, platform=platform)
        return task

    return placed
