"""A KFP server over its API, and what its answers mean.

By the generated client, since kfp's own reads and writes a file in the user's home.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import kfp_server_api as api
import urllib3

from pipelines.kubeflow.access import LOG_IN, Access

TIMEOUT = (10, 60)  # seconds to connect, and to be answered
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
NO_PATH = "Not Found"  # what any server of this kind says of a path that none of its methods has
EQUALS = 1  # the operation of a filter, in the API's numbers


class Refused(ValueError):  # noqa: N818  # an answer, not a fault of the program
    """The server does not take what was sent, or does not know who sends it."""


class Unavailable(OSError):  # noqa: N818  # a state, not a fault of the program
    """No server answers, or it fails; later it may not."""


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
            configuration.refresh_api_key_hook = lambda this: this.api_key.update(authorization=access.bearer())
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
                return self._named(experiment.experiment_id, "experiment")
        if experiments:
            raise Refused(f"this experiment is archived: unarchive it or name another. Received: --experiment {name}")
        wanted = api.V2beta1Experiment(display_name=name, namespace=namespace)
        made = self._ask(lambda: service.experiment_service_create_experiment(wanted, _request_timeout=TIMEOUT))
        return self._named(made.experiment_id, "experiment")

    def start(self, run: api.V2beta1Run) -> str:
        """Starts a run and returns its identifier."""
        service = api.RunServiceApi(self._client)
        made = self._ask(lambda: service.run_service_create_run(run, _request_timeout=TIMEOUT))
        return self._named(made.run_id, "run")

    def schedule(self, runs: api.V2beta1RecurringRun) -> str:
        """Has runs started from time to time and returns the identifier of their schedule."""
        service = api.RecurringRunServiceApi(self._client)
        made = self._ask(lambda: service.recurring_run_service_create_recurring_run(runs, _request_timeout=TIMEOUT))
        return self._named(made.recurring_run_id, "recurring run")

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

    def _named(self, identifier: str | None, what: str) -> str:
        """Returns an identifier, without which nothing was made, whatever status the answer had."""
        if not identifier:
            raise self._foreign(f": it names no {what}")
        return identifier

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
                raise self._foreign() from error
            raise _meaning(cause, url) from error
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"no KFP server answers at {url}: {_root_cause(error)}") from error
        except UnicodeDecodeError as error:
            raise self._foreign() from error
        if "json" not in (self._client.last_response.getheader("content-type") or ""):
            raise Refused(f"{url} answers with a page for people, probably its login: {LOG_IN}")
        if answer is None:
            raise self._foreign()
        return answer

    def _foreign(self, why: str = "") -> Unavailable:
        return Unavailable(f"{self._access.url} answers, but not as KFP does{why}")


def _meaning(error: api.ApiException, url: str) -> Exception:
    told, status = _told(error), error.status
    if status == 0:
        return Unavailable(f"no TLS with {url}, expected --ca with what its certificate is trusted by: {told}")
    if status in TRANSIENT:
        return Unavailable(f"the KFP server at {url} fails ({status}): {told}")
    if status in REDIRECTS:
        return Refused(f"{url} sends us on to its login: {LOG_IN}")
    if status == 404 and _is_kfps(error):  # HTTP's number
        return Refused(f"the KFP server knows no such thing (any more): {told}")
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


def _is_kfps(error: api.ApiException) -> bool:
    """Says whether an error is in the words of KFP's API, and not in those of something else at its address."""
    try:
        return bool(json.loads(error.body)["message"] != NO_PATH)
    except (TypeError, ValueError, LookupError):
        return False


def _root_cause(error: BaseException) -> str:
    while cause := error.__cause__ or next((part for part in error.args if isinstance(part, Exception)), None):
        error = cause
    return (error.strerror if isinstance(error, OSError) else None) or str(error).rpartition(": ")[2]
