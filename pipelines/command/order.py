"""What `submit` has been told to run, and the submission that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.kubeflow.package import Package
    from pipelines.kubeflow.submission import Submission


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to run, and how.

    Attributes:
        name: Name of the run.
        package: The pipeline.
        arguments: Values of its parameters.
        experiment: Name of the experiment in KFP.
        pipeline_root: Location of artifacts; None means the server's default.
        service_account: Kubernetes service account of the pods; None means the server's default.
        cron: Schedule; None means a single run.
        register: Name of the pipeline in KFP that a version is made of; None sends the pipeline with the run.
        latest: Whether a schedule follows the newest version.
    """

    name: str
    package: Package
    arguments: dict[str, Any]
    experiment: str
    pipeline_root: str | None
    service_account: str | None
    cron: str | None
    register: str | None
    latest: bool

    def submission(self, reference: Any | None) -> Submission:
        """Returns the submission of the pipeline itself, or of a version that is registered."""
        from pipelines.kubeflow.submission import Submission
        from pipelines.kubeflow.tracking import plugin_input

        # A newer version has other defaults, which arguments of this one would override.
        given = {key: value for key, value in self.arguments.items() if value != self.package.defaults.get(key)}
        # KFP 2.17 runs the hooks of plugins for a schedule only if the API server creates each of its runs, as it does
        # for the newest version. With plugins_input, other schedules would lose their parameters
        # (NewGenericScheduledWorkflow in v2_template.go).
        plugins = plugin_input(self.package) if self.cron is None or self.latest else None
        return Submission(
            name=self.name,
            pipeline=self.package.body() if reference is None else reference,
            arguments=given if self.latest else self.arguments,
            pipeline_root=self.pipeline_root,
            service_account=self.service_account,
            plugins=plugins,
        )
