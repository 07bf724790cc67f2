"""The parts of the fake KFP server that hold pipelines, and that answer with something other than gRPC would.

From KFP's sources, 2.14 to 2.17: uploads, backend/src/apiserver/server/pipeline_upload_server.go; logs,
server/run_log_server.go; health, main.go; the server of KFP's page, frontend/server/app.ts and handlers/healthz.ts.
"""

import email
import json

import kfp_server_api as api
import yaml


class Pipelines:
    """Pipelines and their versions."""

    def __init__(self):
        self.names = {}  # by identifier
        self.rival = None  # name of a pipeline that another submission creates
        self.versions = []  # oldest first: pipeline, version, name, body

    def respond(self, kfp, method, path, query, body):
        from fake_kfp_server import EXISTS, INVALID, NOT_FOUND, RefusedError, check_fields

        pipeline, _, version = path.partition("/versions")
        if (method, path) == ("GET", ""):
            kfp.check_namespace(query.get("namespace", [None])[0])
            found = [api.V2beta1Pipeline(pipeline_id=key) for key, name in self.names.items() if name == wanted(query)]
            if self.rival:  # somebody else creates it just after this answer
                self.names[f"pipeline-{len(self.names)}"], self.rival = self.rival, None
            return api.V2beta1ListPipelinesResponse(pipelines=found or None)
        if (method, path) == ("POST", ""):
            check_fields(body, api.V2beta1Pipeline)
            kfp.check_namespace(body.get("namespace"))
            if body["name"] in self.names.values():
                raise RefusedError(EXISTS, f"The name {body['name']} already exists. Please specify a new name")
            self.names[f"pipeline-{len(self.names)}"] = body["name"]
            return api.V2beta1Pipeline(pipeline_id=f"pipeline-{len(self.names) - 1}", display_name=body["name"])
        if (method, path) == ("POST", "upload_version"):
            if query["pipelineid"][0] not in self.names:
                raise RefusedError(NOT_FOUND, "Failed to create a pipeline version")
            documents = list(yaml.safe_load_all(body))
            inner = (
                documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
            )
            names = ("pipeline", "version", "name", "body")
            values = (query["pipelineid"][0], f"version-{len(self.versions)}", query["name"][0], inner)
            self.versions.append(dict(zip(names, values, strict=True)))
            return describe(self.versions[-1])
        of_this = [item for item in self.versions if item["pipeline"] == pipeline]
        if method == "GET" and not version:
            if "sort_by" in query:
                of_this = of_this[::-1] if query["sort_by"] == ["created_at desc"] else of_this
                found = of_this[: int(query["page_size"][0])]
            else:
                found = [item for item in of_this if item["name"] == wanted(query)]
            return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=[describe(item) for item in found] or None)
        if method == "GET":
            return describe(self.find(pipeline, version.removeprefix("/")), spec=True)
        raise RefusedError(INVALID, path)

    def find(self, pipeline_id, pipeline_version_id=None):
        """Returns a version; the newest without an identifier of one."""
        from fake_kfp_server import NOT_FOUND, RefusedError

        found = [item for item in self.versions if item["pipeline"] == pipeline_id]
        found = [item for item in found if pipeline_version_id in (None, item["version"])]
        if not found:
            raise RefusedError(NOT_FOUND, f"PipelineVersion {pipeline_version_id} not found.")
        return found[-1]


def wanted(query):
    """Returns the display name in a filter."""
    [predicate] = json.loads(query["filter"][0])["predicates"]
    assert (predicate["operation"], predicate["key"]) == (1, "display_name")
    return predicate["stringValue"]


def describe(version, *, spec=False):
    return api.V2beta1PipelineVersion(
        pipeline_id=version["pipeline"],
        pipeline_version_id=version["version"],
        display_name=version["name"],
        pipeline_spec=version["body"] if spec else None,
    )


def read_upload(kind, content):
    """Returns the file in a multipart body."""
    message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    [part] = [
        part for part in message.get_payload() if part.get_param("name", header="content-disposition") == "uploadfile"
    ]
    assert part.get_filename().endswith(".yaml")
    return part.get_payload(decode=True).decode()


def healthz(kfp):
    """Returns the health, in the format of the API server or of the page's server."""
    if kfp.page:
        return {"apiServerReady": True, "apiServerTagName": kfp.version, "apiServerMultiUser": kfp.multi_user}
    return {"commit_sha": "0" * 40, "tag_name": kfp.version, "multi_user": kfp.multi_user, "pipeline_store": "database"}


class Pages:
    """Answers with the health of the server and the logs of pods, for which it asks for no login; None elsewhere."""

    def __init__(self, kfp):
        self.kfp = kfp

    def respond(self, path, query):
        parts = path.strip("/").split("/")
        if path == "/apis/v2beta1/healthz":
            return 200, json.dumps(healthz(self.kfp)).encode(), "application/json"
        if parts[:2] == ["apis", "v1alpha1"] and self.kfp.page:
            return 404, b"<!DOCTYPE html><pre>Cannot GET</pre>", "text/html; charset=utf-8"
        if parts[:3] == ["apis", "v1alpha1", "runs"]:
            log = self.kfp.logs.get(parts[5])
            if log is None:  # with status 200, which is sent first (run_log_server.go)
                text = f'BadRequestError: Failed to read logs for run {parts[3]}: pods "{parts[5]}" not found'
                log = json.dumps({"error_message": text, "error_details": f"{text}\nstack"}, separators=(",", ":"))
            return 200, log.encode(), "text/plain; charset=utf-8"
        if path == "/k8s/pod/logs" and self.kfp.page:
            assert {"podname", "podnamespace", "createdat"} <= set(query)
            log = self.kfp.logs.get(query["podname"][0])
            return (404, b"pod not found", "text/html") if log is None else (200, log.encode(), "text/plain")
        return None
