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


def set_step_variables() -> None:
    """Sets the variables that the pod has under a prefix.

    Raises:
        ValueError: A secret does not exist, or may not be read.
        OSError: Secret Manager cannot be reached.
    """
    for name, value in sorted(os.environ.items()):
        if name.startswith(STEP_PREFIX):
            os.environ[name.removeprefix(STEP_PREFIX)] = value
    for name, value in sorted(os.environ.items()):
        if name.startswith(SECRET_PREFIX):
            os.environ[name.removeprefix(SECRET_PREFIX)] = _read_secret(value)


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
