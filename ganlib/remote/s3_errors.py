"""What the errors of an S3 server and of AWS's library mean: wait and try again, the user's mistake, or a failure."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

from etils import epy

from ganlib.remote import bucket as limits
from ganlib.remote.bucket import conflict_error, is_full_disk
from ganlib.remote.file import RemoteError, first_line

with epy.lazy_imports():
    import urllib3
    from botocore import exceptions as aws

TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)
# 409: another conditional write is under way; its outcome shows at the next attempt.
TRANSIENT = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "ConditionalRequestConflict"}
DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
UNEXPLAINED = (301, 400, 403)  # what an answer with one of these means is in its body
DENIED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}  # with status 400
ELSEWHERE = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
NO_CONDITIONS = (
    "the server does not know conditional writes (If-None-Match), without which two processes overwrite each other: "
    "expected Amazon S3, or MinIO or SeaweedFS of a version that has them"
)
GONE = {"NoSuchKey", "NoSuchBucket", "NoSuchUpload"}


class GaveUp(Exception):  # noqa: N818  # the name says what happened
    """A request failed for transient reasons until the time was over; its cause is the last failure."""


def code(error: BaseException) -> str:
    """Returns the server's code of an error, such as NoSuchKey; the status if it sent none; "" for other errors."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, aws.ClientError) else ""


def status(error: BaseException) -> int:
    """Returns the HTTP status of the server's error; 0 for other errors."""
    response: Any = error.response if isinstance(error, aws.ClientError) else {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_transient(error: BaseException) -> bool:
    """Returns whether the same request may succeed soon."""
    if isinstance(error, aws.ClientError):
        return status(error) in TRANSIENT_STATUS or code(error) in TRANSIENT
    if isinstance(error, aws.SSLError | aws.ProxyConnectionError):
        return False
    return isinstance(
        error, aws.ConnectionError | aws.HTTPClientError | aws.IncompleteReadError | urllib3.exceptions.HTTPError
    )


@contextlib.contextmanager
def translate_errors(location: str, *, done: str = "read") -> Iterator[None]:
    """Translates the errors of AWS's library into errors with one-line messages."""
    try:
        yield
    except RemoteError:
        raise
    except aws.ClientError as error:
        raise _of_server(error, location, done) from error
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError) as error:
        raise ValueError(
            "no credentials: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile in AWS_PROFILE, or the "
            f"role of a pod or machine: {first_line(error)}. Received: path={location!r}"
        ) from error
    except (aws.ProfileNotFound, aws.ConfigNotFound, aws.ConfigParseError, aws.InvalidRegionError) as error:
        raise ValueError(
            f"the settings of AWS are not valid: {first_line(error)}. Received: path={location!r}"
        ) from error
    except RecursionError as error:  # botocore asks for the bucket's region, gets the same answer, and so on
        raise ValueError(
            "the server redirects every request: expected the address of its S3 API in AWS_ENDPOINT_URL_S3, with the "
            f"right scheme. Received: path={location!r}"
        ) from error
    except (GaveUp, aws.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise RemoteError(f"cannot be {done}: {_reason(error)}. Received: path={location!r}") from error


def _of_server(error: aws.ClientError, location: str, done: str) -> Exception:
    number, name = status(error), code(error)
    named = "" if name in {"", str(number), "AccessDenied", "Forbidden"} else f" {name}"
    received = f"Received: path={location!r}"
    if number in {401, 403} or name in DENIED:
        return ValueError(f"access is denied ({number}{named}). {received}")
    if number == 412:
        return conflict_error(location)
    if number == 404 or name in GONE:
        return ValueError(f"no such bucket or object. {received}")
    if name in ELSEWHERE:
        return ValueError(f"the bucket is in another region: expected its region in AWS_REGION. {received}")
    if number == 501:
        return ValueError(f"{NO_CONDITIONS}. {received}")
    return RemoteError(f"cannot be {done}: the server answers {number}{named}. {received}")


def _reason(error: BaseException) -> str:
    if isinstance(error, GaveUp):
        cause: Any = error.__cause__
        text = (
            f"the server answers {status(cause)}" if isinstance(cause, aws.ClientError) else _connection_problem(cause)
        )
        return f"{text}, for {limits.TIMEOUT:g} s"
    if isinstance(error, aws.SSLError):
        return f"the server's certificate is not trusted, see AWS_CA_BUNDLE: {first_line(error)}"
    return "no space left on this machine's disk" if is_full_disk(error) else first_line(error)


def _connection_problem(error: Any) -> str:
    """Names the server, but not the whole address of a request, which nobody has typed."""
    parts = urllib.parse.urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
    server = f" at {parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    if isinstance(error, aws.EndpointConnectionError | aws.ConnectTimeoutError):
        return f"no server can be reached{server}"
    if isinstance(error, aws.ReadTimeoutError):
        return f"the server{server} is silent"
    if isinstance(error, aws.ConnectionClosedError):
        return f"the server{server} closes the connection"
    return first_line(error)
