"""Pipelines and their versions on a KFP server."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import kfp_server_api as api
import yaml

from ganlib import storage
from pipelines.kubeflow.package import Package
from pipelines.kubeflow.server import TIMEOUT, Refused, Server, name_filter


def version_name(package: Package) -> str:
    """Returns the name of a pipeline's version, which follows from its content: both documents of the file."""
    content = storage.canonical_json([package.spec, package.pods])
    return f"sha256-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def register(server: Server, package: Package, *, name: str) -> api.V2beta1PipelineVersionReference:
    """Returns a version of a pipeline with this content. Pipeline and version are created if they do not exist.

    Raises:
        Refused: The server refuses a request, for example because the user may not create pipelines.
        Unavailable: The server cannot be reached or fails.
    """
    pipeline, version = _pipeline(server, name), version_name(package)
    identifier = _find_version(server, pipeline, version) or _upload(server, package, pipeline, version)
    return api.V2beta1PipelineVersionReference(pipeline_id=pipeline, pipeline_version_id=identifier)


def newest_version(server: Server, pipeline: str) -> str:
    """Returns the name of the newest version of a pipeline, which a schedule without a version would run."""
    service = api.PipelineServiceApi(server.client)
    answer = server.call(
        lambda: service.pipeline_service_list_pipeline_versions(
            pipeline, page_size=1, sort_by="created_at desc", _request_timeout=TIMEOUT
        )
    )
    versions = answer.pipeline_versions or ()
    return str(versions[0].display_name) if versions else ""


def read_version(server: Server, reference: api.V2beta1PipelineVersionReference) -> Package:
    """Returns the content of a version."""
    service = api.PipelineServiceApi(server.client)
    version = server.call(
        lambda: service.pipeline_service_get_pipeline_version(
            reference.pipeline_id, reference.pipeline_version_id, _request_timeout=TIMEOUT
        )
    )
    return Package.from_body(version.pipeline_spec)


def _pipeline(server: Server, name: str) -> str:
    """Returns the identifier of a pipeline in the namespace of the user. It is created if it does not exist."""
    if found := _find_pipeline(server, name):
        return found
    service, namespace = api.PipelineServiceApi(server.client), server.access.namespace
    pipeline = api.V2beta1Pipeline(display_name=name, name=name, namespace=namespace)
    try:
        created = server.call(lambda: service.pipeline_service_create_pipeline(pipeline, _request_timeout=TIMEOUT))
    except Refused:
        found = _find_pipeline(server, name)  # another submission may have been faster
        if found is None:
            raise
        return found
    return server.check_id(created.pipeline_id, "pipeline")


def _find_pipeline(server: Server, name: str) -> str | None:
    service, namespace = api.PipelineServiceApi(server.client), server.access.namespace
    arguments = {"namespace": namespace} if namespace else {}
    answer = server.call(
        lambda: service.pipeline_service_list_pipelines(filter=name_filter(name), _request_timeout=TIMEOUT, **arguments)
    )
    for pipeline in answer.pipelines or ():
        return server.check_id(pipeline.pipeline_id, "pipeline")
    return None


def _find_version(server: Server, pipeline: str, version: str) -> str | None:
    service = api.PipelineServiceApi(server.client)
    answer = server.call(
        lambda: service.pipeline_service_list_pipeline_versions(
            pipeline, filter=name_filter(version), _request_timeout=TIMEOUT
        )
    )
    for found in answer.pipeline_versions or ():
        return server.check_id(found.pipeline_version_id, "pipeline version")
    return None


def _upload(server: Server, package: Package, pipeline: str, version: str) -> str:
    """Uploads both documents of a file as a version, which the API server stores together (`V2Spec.Bytes`)."""
    service = api.PipelineUploadServiceApi(server.client)
    documents = [package.spec] if package.pods is None else [package.spec, package.pods]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(yaml.safe_dump_all(documents, sort_keys=True), encoding="utf-8")
        try:
            created = server.call(
                lambda: service.upload_pipeline_version(
                    str(file), name=version, display_name=version, pipelineid=pipeline, _request_timeout=TIMEOUT
                )
            )
        except Refused:
            found = _find_version(server, pipeline, version)  # another submission may have been faster
            if found is None:
                raise
            return found
    return server.check_id(created.pipeline_version_id, "pipeline version")
