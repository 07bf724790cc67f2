"""A fake KFP server for tests: it has the API v2beta1 over HTTP and runs nothing.

Responses use the models of `kfp_server_api` and the format of the real server: names with underscores, no empty fields,
and errors as google.rpc.Status with the message for users in the details. Requests are checked like in the real server:
unknown fields are refused, and so are pipelines and arguments that do not parse. What stands in other places of the
server than its gRPC methods, pipelines and logs, is in `fake_kfp_pages.py`.

Where the behaviour comes from, in backend/src/apiserver of KFP 2.14 to 2.17: unknown fields, common/utils.go
(CustomMarshaler); tasks without errors and pods, server/api_converter.go (toApiPipelineTaskDetail); a run of v1beta1,
server/run_server.go (GetRunV1); schedules without a version, resource/resource_manager.go (CreateJob); plugins,
plugins/mlflow/dispatcher.go.
"""

import base64
import contextlib
import gzip
import json
import ssl
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
from background_server import running
from fake_kfp_pages import Pages, Pipelines, read_upload
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

TOKEN, COOKIE, NAMESPACE = "token-of-a-user", "session=of-a-user", "team"
NO_PATH = "Not Found"
UNAUTHENTICATED, DENIED, NOT_FOUND, INVALID, UNAVAILABLE = (401, 16), (403, 7), (404, 5), (400, 3), (503, 14)
EXISTS = (409, 6)
FIELDS = {
    "STRUCT": dict,
    "LIST": list,
    "STRING": str,
    "BOOLEAN": bool,
    "NUMBER_DOUBLE": (int, float),
    "NUMBER_INTEGER": (int, float),
}


class RefusedError(Exception):
    """An error response."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.status, self.code = kind


@dataclass
class Kfp:
    """State and behaviour of the server.

    Attributes:
        states: One (state of the run, {task: state}) for each request of a run; the last one is repeated. Several tasks
            with the same name have a list of states.
        errors: Argo's messages of failed tasks; "Error (exit code 1)" without one.
        logs: Logs of pods, by the name of the pod.
        packed: Whether the workflow is larger than 1 MiB, so that Argo packs its nodes, and KFP reads no tasks from it
            (reportTasksFromExecution in report_server.go).
        page: Whether the address is that of KFP's page, whose server passes some paths on, and not the API server.
        version: Version of KFP.
        plugin: Experiment of the MLflow plugin if the user gives none; None without the plugin.
        plugin_problem: Why the plugin fails.
        faults: Faults of the next requests: a status code, or "reset" to break the connection.
        other_service: Bytes of another service that answers all requests.
        login: "page" or "redirect" for users who are not logged in.
        polls: Number of requests of a run.
        requests: Number of all requests.
    """

    url: str = ""
    multi_user: bool = True
    states: list = field(default_factory=lambda: [("SUCCEEDED", {})])
    errors: dict = field(default_factory=dict)
    logs: dict = field(default_factory=dict)
    packed: bool = False
    page: bool = False
    version: str = "2.16.1"
    plugin: str | None = None
    plugin_problem: str = ""
    faults: list = field(default_factory=list)
    other_service: bytes | None = None
    login: str | None = None
    experiments: dict = field(default_factory=dict)
    runs: list = field(default_factory=list)
    schedules: list = field(default_factory=list)
    polls: int = 0
    requests: int = 0
    pipelines: Pipelines = field(default_factory=Pipelines)

    def archive(self, identifier):
        """Archives an experiment, as a user can do on the web page."""
        self.experiments[identifier].storage_state = "ARCHIVED"

    def respond(self, method, path, query, body, headers):
        if headers.get("Authorization") != f"Bearer {TOKEN}" and headers.get("Cookie") != COOKIE:
            raise RefusedError(UNAUTHENTICATED, "Request header error: there is no user identity header.")
        if path.startswith("/apis/v1beta1/runs/"):
            return self.runtime(path.rpartition("/")[2])
        resource, _, identifier = path.removeprefix("/apis/v2beta1/").partition("/")
        if not path.startswith("/apis/v2beta1/"):
            raise RefusedError(NOT_FOUND, NO_PATH)
        if resource == "experiments":
            return self.answer_experiments(method, query, body)
        if resource == "runs":
            return self.answer_runs(method, identifier, query, body)
        if resource == "pipelines":
            return self.pipelines.respond(self, method, identifier, query, body)
        if (method, resource) == ("POST", "recurringruns"):
            self.check_request(body, api.V2beta1RecurringRun)
            if (
                body["trigger"].keys() != {"cron_schedule"}
                or len(body["trigger"]["cron_schedule"]["cron"].split()) != 6
            ):
                raise RefusedError(INVALID, "Schedule cron is not a supported format")
            if not 1 <= int(body["max_concurrency"]) <= 10 or body["mode"] != "ENABLE":
                raise RefusedError(INVALID, "The max concurrency must be between 1 and 10")
            self.schedules.append(body)
            return api.V2beta1RecurringRun(recurring_run_id=f"schedule-{len(self.schedules)}", status="ENABLED")
        raise RefusedError(NOT_FOUND, f"{resource} {identifier} not found.")

    def answer_experiments(self, method, query, body):
        if method == "GET":
            self.check_namespace(query.get("namespace", [None])[0])
            [predicate] = json.loads(query["filter"][0])["predicates"]
            assert predicate.keys() == {"operation", "key", "stringValue"}
            name = predicate["stringValue"]
            matches = [experiment for experiment in self.experiments.values() if experiment.display_name == name]
            return api.V2beta1ListExperimentsResponse(experiments=matches or None)
        check_fields(body, api.V2beta1Experiment)
        self.check_namespace(body.get("namespace"))
        experiment = api.V2beta1Experiment(
            experiment_id=f"exp-{len(self.experiments)}",
            display_name=body["display_name"],
            storage_state="AVAILABLE",
        )
        self.experiments[experiment.experiment_id] = experiment
        return experiment

    def answer_runs(self, method, identifier, query, body):
        if (method, identifier) == ("GET", ""):
            self.check_namespace(query.get("namespace", [None])[0])
            return api.V2beta1ListRunsResponse()
        if method == "POST":
            self.check_request(body, api.V2beta1Run)
            self.runs.append(body)
            return api.V2beta1Run(
                run_id=f"run-{len(self.runs)}",
                display_name=body["display_name"],
                state="PENDING",
                plugins_output=self.run_plugin(body.get("plugins_input", {}).get("mlflow", {})),
            )
        if identifier == f"run-{len(self.runs)}":
            return self.run_state()
        raise RefusedError(NOT_FOUND, f"Run {identifier} not found.")

    def fail(self, status):
        if status:
            raise RefusedError((status, 14), "upstream connect error")

    def check_namespace(self, namespace):
        if self.multi_user and namespace != NAMESPACE:
            raise RefusedError(DENIED, f"User 'user' is not authorized with reason: (namespace: {namespace or ''})")

    def run_plugin(self, given):
        """Returns what the MLflow plugin of KFP 2.17 says of a run."""
        if self.plugin is None or given.get("disabled"):
            return None
        if set(given) - {"experiment_name", "experiment_id", "disabled"}:
            raise RefusedError(INVALID, "plugins_input.mlflow must follow schema")
        name = given.get("experiment_name", self.plugin)
        entries = {"experiment_name": {"value": name}}
        if self.plugin_problem:
            return {"mlflow": {"entries": entries, "state": "PLUGIN_FAILED", "state_message": self.plugin_problem}}
        entries["run_url"] = {
            "value": "http://mlflow.kubeflow/#/experiments/1/runs/2?workspace=team",
            "render_type": "URL",
        }
        return {"mlflow": {"entries": {**entries, "root_run_id": {"value": "2"}}, "state": "PLUGIN_SUCCEEDED"}}

    def check_request(self, body, model):
        """Refuses requests that the real server would refuse."""
        check_fields(body, model)
        if "plugins_input" in body and self.version < "2.17":
            raise RefusedError(INVALID, 'unknown field "plugins_input"')
        check_fields(body["runtime_config"], api.V2beta1RuntimeConfig)
        if not body.get("display_name"):
            raise RefusedError(INVALID, "The run name is empty. Please specify a valid name")
        if body.get("experiment_id") not in self.experiments:
            raise RefusedError(NOT_FOUND, f"Experiment {body.get('experiment_id')} not found.")
        reference = body.get("pipeline_version_reference")
        sent = body["pipeline_spec"] if reference is None else self.pipelines.find(**reference)["body"]
        spec = sent.get("pipeline_spec", sent)
        try:
            json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
            pods = json_format.ParseDict(sent.get("platform_spec", {}), pipeline_spec_pb2.PlatformSpec())
            for platform in pods.platforms.values():
                for executor in platform.deployment_spec.executors.values():
                    settings = json_format.MessageToDict(executor)
                    json_format.ParseDict(settings, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        except json_format.ParseError as error:
            raise RefusedError(INVALID, f"invalid v2 pipeline spec: {error}") from error
        check_arguments(spec, body)

    def runtime(self, identifier):
        """Returns a run of v1beta1 with its Argo workflow, as the persistence agent has last reported it."""
        if identifier != f"run-{len(self.runs)}":
            raise RefusedError(NOT_FOUND, f"Run {identifier} not found.")
        _, tasks = self.states[min(self.polls, len(self.states)) - 1]
        workflow = argo_workflow(tasks, self.errors)
        if self.packed:
            nodes = json.dumps(workflow["status"].pop("nodes")).encode()
            workflow["status"]["compressedNodes"] = base64.b64encode(gzip.compress(nodes)).decode()
        return {"run": {"id": identifier}, "pipeline_runtime": {"workflow_manifest": json.dumps(workflow)}}

    def run_state(self):
        state_of_run, tasks = self.states[min(self.polls, len(self.states) - 1)]
        self.polls += 1
        details = [
            api.V2beta1PipelineTaskDetail(
                task_id=f"{name}-{number}",
                display_name=name,
                state=state,
            )
            for name, states in {"root": "RUNNING", "root-driver": "SUCCEEDED", **tasks}.items()
            for number, state in enumerate([states] if isinstance(states, str) else states)
        ]
        sent = {
            name: self.runs[-1].get(name) for name in ("display_name", "pipeline_spec", "pipeline_version_reference")
        }
        return api.V2beta1Run(
            run_id=f"run-{len(self.runs)}",
            **sent,
            state=state_of_run,
            run_details=None if self.packed else api.V2beta1RunDetails(task_details=details),
        )


def argo_workflow(tasks, messages):
    """Returns the Argo workflow of tasks, with the nodes and names that KFP's compiler gives them.

    A task is a DAG of the template `system-container-executor` with the pod `executor` below it
    (backend/src/v2/compiler/argocompiler/container.go).
    """
    name, nodes = "digits-x7", {}
    for task, states in tasks.items():
        for number, state in enumerate([states] if isinstance(states, str) else states):
            phase = state.capitalize()
            place = f"{name}.root.{task}" if isinstance(states, str) else f"{name}.root.loop({number}:{number}).{task}"
            hashed = f"{name}-{len(nodes) + 1000}"
            nodes[hashed] = {"id": hashed, "name": place, "type": "DAG", "phase": phase, "displayName": task}
            hashed = f"{name}-{len(nodes) + 1000}"
            nodes[hashed] = {
                "id": hashed,
                "name": f"{place}.executor",
                "type": "Pod",
                "templateName": "system-container-impl",
                "phase": phase,
                "startedAt": "2026-07-01T10:00:00Z",
                "finishedAt": f"2026-07-01T10:00:{10 + len(nodes)}Z",
                "message": messages.get(task, "Error (exit code 1)"),
            }
    metadata = {"name": name, "namespace": NAMESPACE, "creationTimestamp": "2026-07-01T09:59:00Z"}
    return {"metadata": metadata, "status": {"nodes": nodes}}


def check_arguments(spec, body):
    """Refuses arguments that do not match the parameters of the pipeline."""
    defined = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    arguments = body["runtime_config"].get("parameters", {})
    for name, value in arguments.items():
        if name not in defined:
            raise RefusedError(INVALID, f"parameter(s) provided are not required by pipeline: {name}")
        if not isinstance(value, FIELDS[defined[name]["parameterType"]]):
            raise RefusedError(INVALID, f"input parameter {name} requires another type")
    for name, definition in defined.items():
        if name not in arguments and "defaultValue" not in definition and not definition.get("isOptional"):
            raise RefusedError(INVALID, f"parameter {name} is not optional, yet has neither default value nor user's")


def check_fields(body, model):
    """Refuses unknown fields."""
    unknown = set(body) - set(model.attribute_map.values())
    if unknown:
        raise RefusedError(INVALID, f"unknown field {unknown}")


class Handler(BaseHTTPRequestHandler):
    """Handles a request."""

    kfp: Kfp

    def do_GET(self):
        self.handle_one("GET", None)

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        upload = self.headers["Content-Type"].startswith("multipart/")
        self.handle_one("POST", read_upload(self.headers["Content-Type"], content) if upload else json.loads(content))

    def handle(self):
        with contextlib.suppress(ssl.SSLError):  # the client does not trust the certificate
            super().handle()

    def handle_one(self, method, body):
        kfp, parts = self.kfp, urlsplit(self.path)
        kfp.requests += 1
        fault = kfp.faults.pop(0) if kfp.faults else None
        if fault == "reset":
            self.connection.close()
            return
        if kfp.login:
            self.reply(302 if kfp.login == "redirect" else 200, b"<html>Log in</html>", "text/html")
            return
        if kfp.other_service is not None:
            self.reply(200, kfp.other_service)
            return
        try:
            kfp.fail(fault)
            if (page := Pages(kfp).respond(parts.path, parse_qs(parts.query))) is not None:
                self.reply(*page)
                return
            response = kfp.respond(method, parts.path, parse_qs(parts.query), body, self.headers)
            self.reply(200, json.dumps(api.ApiClient().sanitize_for_serialization(response)).encode())
        except RefusedError as error:
            details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": error.code, "message": str(error)}]
            status = {"code": error.code, "message": f"Failed to do it: {error}: and again {error}", "details": details}
            if str(error) == NO_PATH:  # from the gateway, before a method is called
                status = {"code": error.code, "message": NO_PATH, "details": []}
            self.reply(error.status, json.dumps(status).encode())

    def reply(self, status, content, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status == 302:
            self.send_header("Location", "/dex/auth")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Disables the log."""


@contextlib.contextmanager
def run_server(certificate=None):
    """Runs a server on this machine, with TLS if there is a file with a certificate and its key."""
    kfp = Kfp()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"kfp": kfp}))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    kfp.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    with running(server):
        yield kfp
