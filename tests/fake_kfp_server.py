"""A fake KFP server for tests: it has the API v2beta1 over HTTP and runs nothing.

Responses use the models of `kfp_server_api` and the format of the real server: names with underscores, no empty fields,
and errors as google.rpc.Status with the message for users in the details. Requests are checked like in the real server:
unknown fields are refused, and so are pipelines and arguments that do not parse.
"""

import contextlib
import json
import ssl
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
from background_server import running
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

TOKEN, COOKIE, NAMESPACE = "token-of-a-user", "session=of-a-user", "team"
NO_PATH = "Not Found"
UNAUTHENTICATED, DENIED, NOT_FOUND, INVALID, UNAVAILABLE = (401, 16), (403, 7), (404, 5), (400, 3), (503, 14)
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
        errors: Messages of failed tasks.
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
    faults: list = field(default_factory=list)
    other_service: bytes | None = None
    login: str | None = None
    experiments: dict = field(default_factory=dict)
    runs: list = field(default_factory=list)
    schedules: list = field(default_factory=list)
    polls: int = 0
    requests: int = 0

    def archive(self, identifier):
        """Archives an experiment, as a user can do on the web page."""
        self.experiments[identifier].storage_state = "ARCHIVED"

    def respond(self, method, path, query, body, headers):
        if headers.get("Authorization") != f"Bearer {TOKEN}" and headers.get("Cookie") != COOKIE:
            raise RefusedError(UNAUTHENTICATED, "Request header error: there is no user identity header.")
        resource, _, identifier = path.removeprefix("/apis/v2beta1/").partition("/")
        if not path.startswith("/apis/v2beta1/"):
            raise RefusedError(NOT_FOUND, NO_PATH)
        if (method, resource) == ("GET", "experiments"):
            self.check_namespace(query.get("namespace", [None])[0])
            [predicate] = json.loads(query["filter"][0])["predicates"]
            assert predicate.keys() == {"operation", "key", "stringValue"}
            name = predicate["stringValue"]
            matches = [experiment for experiment in self.experiments.values() if experiment.display_name == name]
            return api.V2beta1ListExperimentsResponse(experiments=matches or None)
        if (method, resource) == ("POST", "experiments"):
            check_fields(body, api.V2beta1Experiment)
            self.check_namespace(body.get("namespace"))
            experiment = api.V2beta1Experiment(
                experiment_id=f"exp-{len(self.experiments)}",
                display_name=body["display_name"],
                storage_state="AVAILABLE",
            )
            self.experiments[experiment.experiment_id] = experiment
            return experiment
        if (method, resource) == ("POST", "runs"):
            self.check_request(body, api.V2beta1Run)
            self.runs.append(body)
            return api.V2beta1Run(run_id=f"run-{len(self.runs)}", display_name=body["display_name"], state="PENDING")
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
        if (method, resource, identifier) == ("GET", "runs", f"run-{len(self.runs)}"):
            return self.run_state()
        raise RefusedError(NOT_FOUND, f"{resource} {identifier} not found.")

    def fail(self, status):
        if status:
            raise RefusedError((status, 14), "upstream connect error")

    def check_namespace(self, namespace):
        if self.multi_user and namespace != NAMESPACE:
            raise RefusedError(DENIED, f"User 'user' is not authorized with reason: (namespace: {namespace or ''})")

    def check_request(self, body, model):
        """Refuses requests that the real server would refuse."""
        check_fields(body, model)
        check_fields(body["runtime_config"], api.V2beta1RuntimeConfig)
        if not body.get("display_name"):
            raise RefusedError(INVALID, "The run name is empty. Please specify a valid name")
        if body.get("experiment_id") not in self.experiments:
            raise RefusedError(NOT_FOUND, f"Experiment {body.get('experiment_id')} not found.")
        sent = body["pipeline_spec"]
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

    def run_state(self):
        state_of_run, tasks = self.states[min(self.polls, len(self.states) - 1)]
        self.polls += 1
        details = [
            api.V2beta1PipelineTaskDetail(
                task_id=f"{name}-{number}",
                display_name=name,
                state=state,
                error=api.GoogleRpcStatus(code=13, message=self.errors[name]) if name in self.errors else None,
            )
            for name, states in {"root": "RUNNING", "root-driver": "SUCCEEDED", **tasks}.items()
            for number, state in enumerate([states] if isinstance(states, str) else states)
        ]
        failed = api.GoogleRpcStatus(code=13, message="the run failed") if state_of_run == "FAILED" else None
        return api.V2beta1Run(
            run_id=f"run-{len(self.runs)}",
            state=state_of_run,
            error=failed,
            run_details=api.V2beta1RunDetails(task_details=details),
        )


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
        self.handle_one("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

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
