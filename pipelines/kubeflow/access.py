"""Address and credentials of a KFP server."""

from __future__ import annotations

import ipaddress
import shlex
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote
from urllib.request import getproxies, proxy_bypass

from urllib3.util import make_headers

from pipelines.kubeflow.fields import split_address

LOG_IN = "expected --token, --token-file, --token-command or --cookies of a session"
DASHBOARD = "/_"  # prefix of the path of pages inside Kubeflow's dashboard
CLUSTER_NAMES = (".svc", ".cluster.local", ".localhost")  # ends of names that only a cluster or this machine resolves
COMMAND_SECONDS = 60.0  # time limit of a command that prints a token, and the time for which its output is used


@dataclass(frozen=True, kw_only=True)
class Access:
    """Address and credentials of a server.

    Attributes:
        host: Address, as the browser shows it; https without a scheme.
        namespace: Namespace of the user, if KFP has several users.
        token: Bearer token.
        token_file: File with the token. It is read again for each request, because tokens expire.
        token_command: Command that prints the token, without a shell. It runs again when its token is a minute old.
        cookies: Cookies, for example of a browser that is logged in.
        ca: File with CA certificates that sign the server's certificate.

    Raises:
        ValueError: The address is not valid or includes a user or password, which would be printed with it; or token,
            cookies or certificates are not valid. No message shows a secret.
    """

    host: str
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    token_command: str | None = None
    cookies: str | None = field(default=None, repr=False)
    ca: Path | None = None
    _printed: list[tuple[float, str]] = field(default_factory=list, repr=False, compare=False)  # time and token

    def __post_init__(self) -> None:
        if "@" in self.host:
            raise ValueError(f"--host must not include a user or password: {LOG_IN}. Received: an address with @")
        if not self.host:
            raise ValueError("expected --host or the environment variable GAN_PIPELINES_KFP_HOST. Received: none")
        self._address()
        given = {"--token": self.token, "--token-file": self.token_file, "--token-command": self.token_command}
        options = [option for option, value in given.items() if value]
        if len(options) > 1:
            raise ValueError(
                "expected only one of --token, --token-file and --token-command, including their environment "
                f"variables. Received: {' and '.join(options)}"
            )
        for option, secret in (("--token", self.token), ("--cookies", self.cookies)):
            if secret:
                _check_header(secret, option)
        if self.ca is not None:
            try:
                ssl.create_default_context(cafile=self.ca)
            except (ssl.SSLError, OSError) as error:
                raise ValueError(f"expected a PEM file of certificates. Received: --ca {self.ca}") from error

    @property
    def url(self) -> str:
        """Address of the API: the host without the parts that only matter to browsers."""
        address = self._address()
        path = address.path.removeprefix(DASHBOARD) if address.path.startswith(f"{DASHBOARD}/") else address.path
        return f"{address.scheme}://{address.netloc}{path.rstrip('/')}"

    @property
    def has_token(self) -> bool:
        """Whether requests have a bearer token."""
        return bool(self.token or self.token_file or self.token_command)

    @property
    def is_inside(self) -> bool:
        """Whether only a cluster or this machine knows the host: a plain name, `*.svc`, or a loopback address."""
        name = self._address().hostname or ""
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return "." not in name or name.endswith(CLUSTER_NAMES)

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether a secret is sent without encryption to a host outside."""
        secret = self.has_token or bool(self.cookies)
        return secret and self._address().scheme == "http" and not self.is_inside

    def bearer(self) -> str | None:
        """Returns the token, or None without one.

        Raises:
            ValueError: The token file cannot be read or has no token, or the command fails.
        """
        if self.token_command:
            if not self._printed or time.monotonic() - self._printed[-1][0] > COMMAND_SECONDS:
                self._printed[:] = [(time.monotonic(), _run(self.token_command))]
            return self._printed[-1][1]
        if self.token_file is None:
            return self.token or None
        option = f"--token-file {self.token_file}"
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read the token: {error.strerror}. Received: {option}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"expected a text file with a token. Received: {option}, which is not text") from error
        if not token:
            raise ValueError(f"expected a file with a token. Received: {option}, which is empty")
        _check_header(token, option)
        return token

    def proxy(self) -> tuple[str | None, dict[str, str] | None]:
        """Returns the address of the proxy in the environment for this host, and headers that log in at it.

        The variables are HTTPS_PROXY or HTTP_PROXY, ALL_PROXY, and NO_PROXY, in capitals or small letters. A host that
        is inside has none.

        Raises:
            ValueError: The address of the proxy is not valid. The message shows no password.
        """
        if self.is_inside:  # its name means nothing outside, and http may be used there, which a proxy could read
            return None, None
        address = self._address()
        variables = getproxies()
        proxy = variables.get(address.scheme) or variables.get("all")
        if not proxy or proxy_bypass(address.netloc):
            return None, None
        parts = split_address(proxy if "://" in proxy else f"http://{proxy}")
        if parts is None:
            raise ValueError(
                "expected an address such as http://proxy:3128 in the environment variable for proxies. "
                f"Received: {proxy.rpartition('@')[2]!r}"
            )
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        headers = make_headers(proxy_basic_auth=login) if parts.username else None
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", headers

    def _address(self) -> SplitResult:
        text = self.host.strip()
        address = split_address(text if "://" in text else f"https://{text}")
        if address is None or not text.isprintable() or " " in text:
            raise ValueError(
                f"expected an address such as https://kubeflow.example.com/pipeline. Received: --host {self.host!r}"
            )
        return address


def _check_header(secret: str, option: str) -> None:
    """Refuses a secret that cannot be an HTTP header; the HTTP client's own error would print it."""
    if not (secret.isascii() and secret.isprintable()):
        raise ValueError(
            f"expected one line of printable ASCII. Received: {option} with other characters, which are not shown here"
        )


def _run(command: str) -> str:
    """Returns the token that a command prints. Its standard error goes to the terminal, its output nowhere.

    Raises:
        ValueError: The command cannot run, fails, or prints no token.
    """
    option = f"--token-command {command.partition(' ')[0]} ..."  # arguments may be secret
    try:
        done = subprocess.run(  # noqa: S603  # the user's own command
            shlex.split(command), stdout=subprocess.PIPE, text=True, timeout=COMMAND_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        raise ValueError(f"cannot get a token: the exit code is {error.returncode}. Received: {option}") from None
    except subprocess.TimeoutExpired:
        reason = f"it did not end in {COMMAND_SECONDS:g} seconds"
        raise ValueError(f"cannot get a token: {reason}. Received: {option}") from None
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or "not a valid command"
        raise ValueError(f"cannot get a token: {reason}. Received: {option}") from None
    token = done.stdout.strip()
    if not token:
        raise ValueError(f"expected a command that prints a token. Received: {option}, which prints nothing")
    _check_header(token, option)
    return token
