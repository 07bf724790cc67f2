"""How a KFP server is reached: its address, and who asks."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

LOG_IN = "expected --token, --token-file or --cookies of a session"
DASHBOARD = "/_"  # what Kubeflow's dashboard puts before the path of a page that it frames


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
        ValueError: The address is none, or holds a user or a password, which would be printed with it; token, cookies
            or certificates cannot be such. No message shows a secret.
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
        if not self.host:
            raise ValueError("expected --host or the environment variable GAN_PIPELINES_KFP_HOST. Received: none")
        self._address()
        if self.token and self.token_file:
            raise ValueError(
                "expected one of --token and --token-file, or of the environment variables in their place. "
                "Received: both"
            )
        for option, secret in (("--token", self.token), ("--cookies", self.cookies)):
            if secret:
                _check_header(secret, option)
        if self.ca is not None:
            try:
                ssl.create_default_context(cafile=self.ca)
            except (ssl.SSLError, OSError) as error:
                raise ValueError(f"expected a file of certificates in PEM. Received: --ca {self.ca}") from error

    @property
    def url(self) -> str:
        """The address of the API: that of the browser without what only the browser looks at."""
        address = self._address()
        path = address.path.removeprefix(DASHBOARD) if address.path.startswith(f"{DASHBOARD}/") else address.path
        return f"{address.scheme}://{address.netloc}{path.rstrip('/')}"

    def bearer(self) -> str | None:
        """Returns the token; None where there is none.

        Raises:
            ValueError: Its file cannot be read, or holds no token.
        """
        if self.token_file is None:
            return self.token or None
        option = f"--token-file {self.token_file}"
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(f"cannot read the token: {error.strerror}. Received: {option}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"expected a file with a token, which is text. Received: {option}") from error
        if not token:
            raise ValueError(f"expected a file with a token. Received: {option}, which is empty")
        _check_header(token, option)
        return token

    def _address(self) -> SplitResult:
        text = self.host.strip()
        try:
            address = urlsplit(text if "://" in text else f"https://{text}")
            sound = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:  # a port that is none, or a bracket
            sound = False
        if not sound or not text.isprintable() or " " in text:
            raise ValueError(
                f"expected an address such as https://kubeflow.example.com/pipeline. Received: --host {self.host!r}"
            )
        return address


def _check_header(secret: str, option: str) -> None:
    """Refuses what no request can carry, of which the client's own error would print the secret."""
    if not (secret.isascii() and secret.isprintable()):
        raise ValueError(f"expected one line of plain letters. Received: {option} with other ones, not shown here")
