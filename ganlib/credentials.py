"""Environment variables that are set in a step alone: credentials for its own use, and secrets of Google Cloud.

KFP's launcher runs in the same container and reads the same variables. A key for the images would become the key with
which KFP stores artifacts, instead of the identity of the pod. So the pod has such a variable under another name.
"""

from __future__ import annotations

import base64
import os

from etils import epy

with epy.lazy_imports():
    import google.auth
    from google.auth import exceptions as auth
    from google.auth.transport import requests as google_requests

STEP_PREFIX = "GAN_PIPELINES_STEP_"  # followed by the variable's name
SECRET_PREFIX = "GAN_PIPELINES_SECRET_"  # noqa: S105  # likewise; the value is the name of a secret version
SECRET_MANAGER = "https://secretmanager.googleapis.com/v1"  # noqa: S105
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT = 30.0  # seconds
SECRETS = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "DATABRICKS_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


def set_step_variables() -> None:
    """Sets the variables that the pod has under a prefix.

    Raises:
        ValueError: A secret does not exist, may not be read, or is not one line.
        OSError: Secret Manager cannot be reached.
    """
    for name, value in sorted(os.environ.items()):
        if name.startswith(STEP_PREFIX):
            os.environ[name.removeprefix(STEP_PREFIX)] = one_line(name, value)
    for name, value in sorted(os.environ.items()):
        if name.startswith(SECRET_PREFIX):
            os.environ[name.removeprefix(SECRET_PREFIX)] = one_line(name, _read_secret(value))


def one_line(name: str, value: str) -> str:
    """Returns the value of a variable without the line end that `echo` or an editor has put into a secret.

    Raises:
        ValueError: Other characters cannot be printed. HTTP clients would refuse them with a message that shows them.
    """
    value = value.removesuffix("\n").removesuffix("\r")
    if not value.isprintable():
        raise ValueError(f"expected one line of printable characters. Received: {name} with others, not shown here")
    return value


def hide_secrets(text: str) -> str:
    """Removes the values of secret variables of this process from a text, also as Python shows text and bytes."""
    for name in SECRETS:
        value = os.environ.get(name, "").strip()
        shown = {value, repr(value)[1:-1], repr(value.encode("latin-1", "replace"))[2:-1]} - {""}
        for form in sorted(shown, key=len, reverse=True):
            text = text.replace(form, "***")
    return text


def _read_secret(name: str) -> str:
    """Returns the text of a secret version, `projects/PROJECT/secrets/SECRET/versions/VERSION`."""
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
        with google_requests.AuthorizedSession(credentials) as session:  # type: ignore[no-untyped-call]  # no types
            answer = session.get(f"{SECRET_MANAGER}/{name}:access", timeout=TIMEOUT)
    except auth.DefaultCredentialsError as error:
        raise ValueError(f"no credentials to read a secret with. Received: secret={name!r}") from error
    except (auth.GoogleAuthError, OSError) as error:
        raise OSError(f"Secret Manager cannot be reached: {type(error).__name__}. Received: secret={name!r}") from error
    if answer.status_code in (401, 403, 404):
        raise ValueError(
            "expected a secret that exists and that the service account may read "
            f"(roles/secretmanager.secretAccessor); the server answers {answer.status_code}. Received: secret={name!r}"
        )
    try:
        return base64.b64decode(answer.json()["payload"]["data"], validate=True).decode()
    except (ValueError, LookupError, TypeError) as error:  # its text is not shown: it may contain the secret
        problem = f"the server answers {answer.status_code} without a text"
        raise OSError(f"the secret cannot be read: {problem}. Received: secret={name!r}") from error
