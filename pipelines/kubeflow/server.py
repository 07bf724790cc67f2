"""Client of the API of a KFP server, with clear errors.

It uses the generated client, because `kfp.Client` reads and writes a file in the home of the user.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import kfp_server_api as api
import urllib3

from pipelines.kubeflow.access import LOG_IN, Access

TIMEOUT = (10, 60)  # seconds to connect, and to wait for a response
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
NO_PATH = "Not Found"  # message of any gRPC gateway for an unknown path
EQUALS = 1  # number of this filter operation in the API
END_BYTES, MAX_BYTES = 64 * 1024, 64 * 1024 * 1024  # of a text: what is kept, and how much is read at most


class Refused(ValueError):  # noqa: N818  # not a bug of the program
    """The server refuses the request or the user."""


class Unavailable(OSError):  # noqa: N818  # not a bug of the program
    """The server cannot be reached or fails; it may work later."""


class Server:
    """Client of a KFP server with the API v2beta1.

    Args:
        access: Address and credentials.
    """

    def __init__(self, access: Access) -> None:
        configuration = api.Configuration(host=access.url)
        configuration.retries = False  # a retry could start a run twice; redirects lead to logins
        configuration.ssl_ca_cert = str(access.ca) if access.ca else None
        configuration.proxy, configuration.proxy_headers = access.proxy()
        if access.has_token:
            configuration.api_key["authorization"] = ""  # the hook is only called if there is a key
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.refresh_api_key_hook = lambda this: this.api_key.update(authorization=access.bearer())
        self.client = api.ApiClient(configuration, cookie=access.cookies)
        self.access = access

    def get_json(self, path: str) -> dict[str, Any]:
        """Returns the JSON object at a path that the generated client does not know, or knows without all fields."""
        request = lambda: self.client.call_api(  # noqa: E731  # a request for call()
            path,
            "GET",
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
            _request_timeout=TIMEOUT,
        )
        answer = self.call(request)
        if not isinstance(answer, dict):
            raise self._not_kfp()
        return answer

    def read_end(self, path: str, query: dict[str, str]) -> str:
        """Returns the last END_BYTES of a text, which may be long.

        Raises:
            OSError: The server has no such text, or cannot be reached. The message is one line.
        """
        headers = {"Cookie": self.access.cookies} if self.access.cookies else {}
        self.client.update_params_for_auth(headers, [], ["Bearer"])
        timeout = urllib3.Timeout(connect=TIMEOUT[0], read=TIMEOUT[1])
        pool, url, end, size = self.client.rest_client.pool_manager, f"{self.access.url}{path}", b"", 0
        try:
            response = pool.request(
                "GET", url, fields=query, headers=headers, preload_content=False, redirect=False, timeout=timeout
            )
            try:
                if response.status != 200 or "html" in response.headers.get("content-type", ""):
                    raise OSError(f"{path.partition('?')[0]} is answered with {response.status}")
                for chunk in response.stream(END_BYTES):
                    end, size = (end + chunk)[-END_BYTES:], size + len(chunk)
                    if size > MAX_BYTES:
                        raise OSError(f"it is longer than {MAX_BYTES // 1024**2} MB")
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the KFP server at {self.access.url} cannot be reached: {_root_cause(error)}") from error
        return end.decode(errors="replace")

    def list_runs(self) -> None:
        """Asks for a run of the namespace, to see whether the user may.

        Raises:
            Refused: The user is not known, or may not see runs in the namespace.
        """
        service, namespace = api.RunServiceApi(self.client), self.access.namespace
        arguments = {"namespace": namespace} if namespace else {}
        self.call(lambda: service.run_service_list_runs(page_size=1, _request_timeout=TIMEOUT, **arguments))

    def find_experiment(self, name: str) -> str | None:
        """Returns the identifier of an experiment, or None if it does not exist.

        Raises:
            Refused: The experiment is archived.
        """
        service, namespace = api.ExperimentServiceApi(self.client), self.access.namespace
        arguments = {"namespace": namespace} if namespace else {}
        answer = self.call(
            lambda: service.experiment_service_list_experiments(
                filter=name_filter(name), _request_timeout=TIMEOUT, **arguments
            )
        )
        experiments = answer.experiments or []
        for experiment in experiments:
            if experiment.storage_state != api.V2beta1ExperimentStorageState.ARCHIVED:
                return self.check_id(experiment.experiment_id, "experiment")
        if experiments:
            raise Refused(f"this experiment is archived: restore it or use another. Received: --experiment {name}")
        return None

    def get_or_create_experiment(self, name: str) -> str:
        """Returns the identifier of an experiment. It is created if it does not exist.

        Raises:
            Refused: The experiment is archived.
        """
        if identifier := self.find_experiment(name):
            return identifier
        service = api.ExperimentServiceApi(self.client)
        experiment = api.V2beta1Experiment(display_name=name, namespace=self.access.namespace)
        created = self.call(lambda: service.experiment_service_create_experiment(experiment, _request_timeout=TIMEOUT))
        return self.check_id(created.experiment_id, "experiment")

    def start(self, run: api.V2beta1Run) -> api.V2beta1Run:
        """Starts a run and returns it as the server has stored it, with its identifier."""
        service = api.RunServiceApi(self.client)
        created = self.call(lambda: service.run_service_create_run(run, _request_timeout=TIMEOUT))
        self.check_id(created.run_id, "run")
        return created

    def schedule(self, recurring_run: api.V2beta1RecurringRun) -> str:
        """Creates a recurring run and returns its identifier."""
        service = api.RecurringRunServiceApi(self.client)
        created = self.call(
            lambda: service.recurring_run_service_create_recurring_run(recurring_run, _request_timeout=TIMEOUT)
        )
        return self.check_id(created.recurring_run_id, "recurring run")

    def get_run(self, identifier: str) -> api.V2beta1Run:
        """Returns a run with its current state."""
        service = api.RunServiceApi(self.client)
        return self.call(lambda: service.run_service_get_run(identifier, _request_timeout=TIMEOUT))

    def page_url(self, identifier: str, *, kind: str = "runs") -> str:
        """Returns the address of the page of a run, or of a recurring run with `kind="recurringrun"`."""
        return f"{self.access.url}/#/{kind}/details/{identifier}"

    def to_json(self, body: Any) -> dict[str, Any]:
        """Converts the body of a request to JSON, as it is sent."""
        return dict(self.client.sanitize_for_serialization(body))

    def check_id(self, identifier: str | None, what: str) -> str:
        """Returns the identifier in a response. Without one, nothing was created, whatever the status says."""
        if not identifier:
            raise self._not_kfp(f": the response has no identifier of a {what}")
        return identifier

    def call(self, request: Callable[[], Any]) -> Any:
        """Sends a request and turns errors into one line.

        Raises:
            Refused: The server refuses the request.
            Unavailable: The server cannot be reached or fails.
        """
        url = self.access.url
        try:
            answer = request()
        except (api.ApiException, AttributeError) as error:
            # Without a response, the client fails with an AttributeError while it handles its own error.
            cause = error if isinstance(error, api.ApiException) else error.__context__
            if not isinstance(cause, api.ApiException):
                raise self._not_kfp() from error
            raise _to_error(cause, url) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the KFP server at {url} cannot be reached: {_root_cause(error)}") from error
        except UnicodeDecodeError as error:
            raise self._not_kfp() from error
        if "json" not in (self.client.last_response.getheader("content-type") or ""):
            raise Refused(f"{url} answers with a web page, probably a login: {LOG_IN}")
        if answer is None:
            raise self._not_kfp()
        return answer

    def _not_kfp(self, reason: str = "") -> Unavailable:
        return Unavailable(f"{self.access.url} answers, but not like KFP{reason}")


def name_filter(name: str) -> str:
    """Returns the filter of a list for one display name."""
    return json.dumps({"predicates": [{"operation": EQUALS, "key": "display_name", "stringValue": name}]})


def _to_error(error: api.ApiException, url: str) -> Exception:
    message, status = _message(error), error.status
    if status == 0:
        return Unavailable(f"HTTPS with {url} failed, expected --ca with the CA of its certificate: {message}")
    if status in TRANSIENT:
        return Unavailable(f"the KFP server at {url} fails ({status}): {message}")
    if status in REDIRECTS:
        return Refused(f"{url} redirects to a login: {LOG_IN}")
    if status == 404 and _is_from_kfp(error):
        return Refused(f"not found on the KFP server: {message}")
    reasons = {
        401: f"{url} does not accept the credentials, or the token has expired: {LOG_IN}",
        403: "permission denied, expected another --namespace or permissions in it",
        404: f"no KFP at this address (in Kubeflow it ends in /pipeline). Received: --host {url}",
    }
    if "unknown field" in message:
        message += " (a newer setting than this KFP knows: see platform.backend)"
    return Refused(
        f"{reasons.get(status, f'the server refuses the request ({status})')}{f': {message}' if message else ''}"
    )


def _message(error: api.ApiException) -> str:
    """Returns the message of the server in one line, the one for users if there is one."""
    try:
        answer = json.loads(error.body)
        own = answer.get("error_message") or answer["message"]  # the first is of uploads (pipeline_upload_server.go)
        message = next((item["message"] for item in answer.get("details", ()) if "message" in item), own)
    except (TypeError, ValueError, KeyError, AttributeError):
        message = error.reason or ""
    return " ".join(str(message).split())


def _is_from_kfp(error: api.ApiException) -> bool:
    """Returns whether an error has the format of the KFP API, and is not from something else at the address."""
    try:
        return bool(json.loads(error.body)["message"] != NO_PATH)
    except (TypeError, ValueError, LookupError):
        return False


def _root_cause(error: BaseException) -> str:
    while cause := error.__cause__ or next((part for part in error.args if isinstance(part, Exception)), None):
        error = cause
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rpartition(": ")[2]
