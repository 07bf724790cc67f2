"""A KFP server over its API, and what its answers mean.

By the generated client, since kfp's own reads and writes a file in the user's home.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kfp_server_api as api
import urllib3

TIMEOUT = (10, 60)  # seconds to connect, and to be answered
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
EQUALS = 1  # the operation of a filter, in the API's numbers
LOG_IN = "expected --token, --token-file or --cookies of a session"


class Refused(ValueError):  # noqa: N818  # an answer, not a fault of the program
    """The server does not take what was sent, or does not know who sends it."""


class Unavailable(OSError):  # noqa: N818  # a state, not a fault of the program
    """No server answers, or it fails; later it may not."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a server is reached.

    Attributes:
        host: Its address, as the browser shows it; without a scheme it is taken as https.
        namespace: Of the user, where KFP serves several.
        token: Bearer token.
        token_file: File with the token, read anew for every request, since tokens expire.
        cookies: Such as those of a browser that has logged in.
        ca: File with the certificates that the server's is trusted by.

    Raises:
        ValueError: The address holds a user or a password, which would be printed with it.
    """

    host: str
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    cookies: str | None = field(default=None, repr=False)
    ca: Path | None = None

    def __post_init__(self) -> None:
        if "@" in self.host:
            raise ValueError(f"a user and a password do not belong into --host: {LOG_IN}. Received: an address with @")

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return (self.host if "://" in self.host else f"https://{self.host}").rstrip("/")


class Server:
    """A KFP server, by its API v2beta1.

    Args:
        access: How it is reached.
    """

    def __init__(self, access: Access) -> None:
        configuration = api.Configuration(host=access.url)
        configuration.retries = False  # a request that starts a run must not be sent twice; redirects lead to logins
        configuration.ssl_ca_cert = str(access.ca) if access.ca else None
        if access.token or access.token_file:
            configuration.api_key["authorization"] = ""  # without a key the hook is not asked
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.refresh_api_key_hook = lambda this: this.api_key.update(authorization=_token(access))
        self._client = api.ApiClient(configuration, cookie=access.cookies)
        self._access = access

    def experiment(self, name: str) -> str:
        """Returns the identifier of an experiment, which is made if there is none of this name.

        Raises:
            Refused: It is archived, where nobody would look for a run.
        """
        service, namespace = api.ExperimentServiceApi(self._client), self._access.namespace
        same = json.dumps({"predicates": [{"operation": EQUALS, "key": "display_name", "stringValue": name}]})
        place = {"namespace": namespace} if namespace else {}
        found = self._ask(
            lambda: service.experiment_service_list_experiments(filter=same, _request_timeout=TIMEOUT, **place)
        )
        experiments = found.experiments or []
        for experiment in experiments:
            if experiment.storage_state != api.V2beta1ExperimentStorageState.ARCHIVED:
                return str(experiment.experiment_id)
        if experiments:
            raise Refused(f"this experiment is archived: unarchive it or name another. Received: --experiment {name}")
        wanted = api.V2beta1Experiment(display_name=name, namespace=namespace)
        made = self._ask(lambda: service.experiment_service_create_experiment(wanted, _request_timeout=TIMEOUT))
        return str(made.experiment_id)

    def start(self, run: api.V2beta1Run) -> str:
        """Starts a run and returns its identifier."""
        service = api.RunServiceApi(self._client)
        return str(self._ask(lambda: service.run_service_create_run(run, _request_timeout=TIMEOUT)).run_id)

    def schedule(self, runs: api.V2beta1RecurringRun) -> str:
        """Has runs started from time to time and returns the identifier of their schedule."""
        service = api.RecurringRunServiceApi(self._client)
        made = self._ask(lambda: service.recurring_run_service_create_recurring_run(runs, _request_timeout=TIMEOUT))
        return str(made.recurring_run_id)

    def run(self, identifier: str) -> api.V2beta1Run:
        """Returns the state of a run."""
        service = api.RunServiceApi(self._client)
        return self._ask(lambda: service.run_service_get_run(identifier, _request_timeout=TIMEOUT))

    def page(self, identifier: str, *, of: str = "runs") -> str:
        """Returns the address of a run's page, or of a schedule's with of='recurringrun'."""
        return f"{self._access.url}/#/{of}/details/{identifier}"

    def request(self, body: Any) -> dict[str, Any]:
        """Returns a request as it is sent."""
        return dict(self._client.sanitize_for_serialization(body))

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Asks, and puts what goes wrong into one line.

        Raises:
            Refused: The server does not take it.
            Unavailable: It cannot be reached, or fails.
        """
        url = self._access.url
        try:
            answer = question()
        except (api.ApiException, AttributeError) as error:
            # The client stumbles over its own error where that came without an answer.
            cause = error if isinstance(error, api.ApiException) else error.__context__
            if not isinstance(cause, api.ApiException):
                raise
            raise _meaning(cause, url) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"no KFP server answers at {url}: {_root_cause(error)}") from error
        if "json" not in (self._client.last_response.getheader("content-type") or ""):
            raise Refused(f"{url} answers with a page for people, probably its login: {LOG_IN}")
        return answer


def _token(access: Access) -> str:
    if access.token_file is None:
        return str(access.token)
    try:
        return access.token_file.read_text().strip()
    except OSError as error:
        raise Refused(f"cannot read the token: {error.strerror}. Received: --token-file {access.token_file}") from error


def _meaning(error: api.ApiException, url: str) -> Exception:
    told, status = _told(error), error.status
    if status == 0:
        return Unavailable(f"no TLS with {url}, expected --ca with what its certificate is trusted by: {told}")
    if status in TRANSIENT:
        return Unavailable(f"the KFP server at {url} fails ({status}): {told}")
    if status in REDIRECTS:
        return Refused(f"{url} sends us on to its login: {LOG_IN}")
    said = {
        401: f"{url} does not know who asks, or the token has expired: {LOG_IN}",
        403: "this user may not do that, expected another --namespace or rights in it",
        404: f"no KFP is there, expected its address (in Kubeflow it ends in /pipeline). Received: --host {url}",
    }
    return Refused(f"{said.get(status, f'the server refuses it ({status})')}{f': {told}' if told else ''}")


def _told(error: api.ApiException) -> str:
    """Returns the server's own words in one line: the message for users where there is one, or the last one."""
    try:
        answer = json.loads(error.body)
        message = next((item["message"] for item in answer.get("details", ()) if "message" in item), answer["message"])
    except (TypeError, ValueError, KeyError, AttributeError):
        message = error.reason or ""
    return " ".join(str(message).split())


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rpartition(": ")[2]
