"""The comparison pipeline: prepare and measure once, train and score all candidates, recommend, export the winner."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.choose_candidate import choose_candidate
from components.halve_candidates import halve_candidates
from components.recommend import recommend
from components.try_candidate import try_candidate
from ganlib.config import RunConfig
from ganlib.selection import Candidate
from ganlib.selection.failures import RETRIES, RETRY_SECONDS
from ganlib.tracking import RunGroup
from pipelines.gan_training import DEFAULT_IMAGE, component_of, first_steps, last_steps, write_yaml
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.platform import Platform

NAME = "gan-comparison"


class Outputs(NamedTuple):
    """Output artifacts of the pipeline."""

    dataset: dsl.Dataset
    reference: dsl.Artifact
    recommendation: dsl.Artifact
    report: dsl.HTML
    trained: dsl.Model
    scores: dsl.Metrics
    scores_report: dsl.HTML
    exported: dsl.Model


def build_comparison(
    config: RunConfig,
    candidates: Sequence[Candidate],
    group: RunGroup,
    *,
    image: str = DEFAULT_IMAGE,
    platform: Platform | None = None,
) -> BaseComponent:
    """Builds the pipeline with the candidates as default of a parameter.

    The loop goes over one flat list, since KFP cannot nest loops whose items are objects. A candidate that fails is an
    outcome of its step, since KFP ends a pipeline with the first step that fails. The winner is copied, since an
    importer takes its address only from a parameter of the pipeline, and gets no access to KFP's own store.

    Args:
        config: The sections that all candidates share: data, evaluation and export. Its task only says which images the
            generated ones are compared with.
        candidates: What is trained.
        group: The comparison's run in MLflow.
        image: Container image of all steps. It is part of the cache key, so use its digest.
        platform: Platform and resources of the steps; None means this machine, where one candidate is trained at a
            time.

    Returns:
        The pipeline, for the compiler or to call with `kfp.local`.

    Raises:
        ValueError: The platform has several machines for a training.
    """
    if isinstance(platform, Kubernetes) and platform.workers > 1:
        raise ValueError(
            f"a candidate is trained on one machine; expected platform.workers=1. Received: workers={platform.workers}"
        )
    defaults = config.to_parameters()
    begin = first_steps(config, image, platform)
    attempt = _attempts(image, platform)
    halve, choose, advise = (
        component_of(function, image, platform, step="export_model")
        for function in (halve_candidates, choose_candidate, recommend)
    )
    finish, outputs = last_steps(config, image, platform, outputs=Outputs)
    items = [candidate.without_defaults() for candidate in candidates]
    halved = any(candidate.halving for candidate in candidates)

    def pipeline(  # noqa: ANN202  # the return type is set below, where KFP can resolve it
        data: dict = defaults["data"],  # KFP copies the defaults into the spec
        task: dict = defaults["task"],
        candidates: list = items,
        evaluation: dict = defaults["evaluation"],
        export_settings: dict = defaults["export"],
        comparison: dict = asdict(group),  # noqa: B008  # as above
    ):
        """Trains and scores variants of a GAN at an equal budget, recommends one, and exports it.

        Args:
            data: Source of the images, and their common size and colour.
            task: Task of the variants, for the real images that samples are compared with.
            candidates: Variants and seeds, each with its sections task, model, objective and training.
            evaluation: Settings of the scores.
            export_settings: Settings of the exported model.
            comparison: Name and key of the comparison in MLflow.

        Returns:
            dataset: Prepared images.
            reference: Feature extractor and statistics of the real images.
            recommendation: The variant to take, and the ranking with its uncertainty.
            report: HTML page of the comparison.
            trained: The recommended model: both generators, history and sample images.
            scores: Scores of the recommended model with fresh samples.
            scores_report: HTML page with its images, curves, scores and config.
            exported: SavedModel, Keras file and model card.
            verdict: Decision of the gate with its reasons.
            decision: promote or refuse: what became of it in the registry if there is one, else that of the gate.
            registered: Version and aliases in the MLflow registry.
            version: Address of the version.
        """
        dataset, reference, task = begin(data=data, task=task, evaluation=evaluation)

        def try_all(candidates: Any) -> Any:
            with dsl.ParallelFor(candidates, parallelism=_parallelism(platform, len(items))) as candidate:
                tried = attempt(
                    dataset=dataset,
                    reference=reference,
                    candidate=candidate,
                    evaluation=evaluation,
                    comparison=comparison,
                )
            return dsl.Collected(tried.outputs["trained"])

        trained = try_all(candidates)
        if halved:
            # Those that stop are the same items in both loops: the second one takes them from KFP's cache on a cluster,
            # and finds them at their pause here, where the cache tells tasks apart by their names.
            trained = try_all(halve(candidates=candidates, paused=trained).output)
        chosen = choose(candidates=trained, evaluation=evaluation)
        made = finish(
            trained=chosen.outputs["winner"],
            dataset=dataset,
            reference=reference,
            evaluation=chosen.outputs["fresh_evaluation"],
            export=export_settings,
        )
        advised = advise(outcomes=chosen.outputs["outcomes"], scores=made["scores"], comparison=comparison)
        return outputs(
            dataset=dataset,
            reference=reference,
            trained=chosen.outputs["winner"],
            recommendation=advised.outputs["recommendation"],
            report=advised.outputs["report"],
            scores_report=made.pop("report"),
            **made,
        )

    pipeline.__annotations__["return"] = outputs
    return dsl.pipeline(name=NAME, description="Compares variants of a GAN, and exports the best.")(pipeline)


def compile_comparison(
    config: RunConfig,
    candidates: Sequence[Candidate],
    group: RunGroup,
    output: Path,
    *,
    image: str = DEFAULT_IMAGE,
    platform: Platform | None = None,
) -> None:
    """Writes the pipeline as ASCII YAML, see `gan_training.compile_pipeline`."""
    write_yaml(build_comparison(config, candidates, group, image=image, platform=platform or Kubernetes()), output)


def _attempts(image: str, platform: Platform | None) -> Callable[..., dsl.PipelineTask]:
    """Returns a factory of the step try_candidate, which retries what may pass itself: KFP does not retry in loops."""
    create = component_of(try_candidate, image, platform, step="train_gan")
    if platform is None:
        return create
    retries = max(1, platform.retry_count()) if platform.retries is None else platform.retries

    def attempt(**inputs: Any) -> dsl.PipelineTask:
        task = create(**inputs).set_env_variable(RETRIES, str(retries))  # a parameter would be part of the cache key
        return task.set_env_variable(RETRY_SECONDS, str(platform.retry_seconds))

    return attempt


def _parallelism(platform: Platform | None, count: int) -> int:
    """Returns how many candidates are trained at a time."""
    return 1 if platform is None else min(count, platform.parallel_candidates)
