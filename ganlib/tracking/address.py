"""Addresses of tracking stores: that of a database file, and which ones MLflow can log to at all."""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from etils import epy

with epy.lazy_imports():
    import sqlalchemy

ARTIFACTS = "mlflow-artifacts"  # folder beside a database file
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
EXPECTED = "expected http://HOST, https://HOST, sqlite:////PATH or another of MLflow's databases as tracking address"
MAX_PATH = 504  # bytes; SQLite opens no longer path, since its journal's name has eight more


class DeliveryBlocked(ValueError):  # noqa: N818  # a state, which a server reports in many ways
    """MLflow takes nothing until somebody changes something: the address, or a run or experiment that was deleted."""


def store_uri(file: Path) -> str:
    """Returns the tracking address of a database file.

    Args:
        file: Absolute path, whatever its parts are called.

    Raises:
        ValueError: No address says this path, or SQLite does not open it.
    """
    path = str(file)
    if len(os.fsencode(path)) > MAX_PATH:
        raise ValueError(f"expected a path of at most {MAX_PATH} bytes, as SQLite does. Received: path={path!r}")
    try:
        # MLflow makes the folder above what follows `sqlite:///` as it is written there, without decoding it: that
        # would be another folder. An address that names the driver is left alone.
        driver = "sqlite" if path == _quoted(path) else "sqlite+pysqlite"
        uri = sqlalchemy.URL.create(driver, database=path).render_as_string()
        said = sqlalchemy.make_url(uri).database
    except UnicodeEncodeError:
        said = None
    if said != path:
        raise ValueError(f"expected a path that can be written as an address. Received: path={path!r}")
    return uri


def _quoted(path: str) -> str:
    return str(sqlalchemy.URL.create("sqlite", database=path).render_as_string()).removeprefix("sqlite:///")


def store_file(uri: str) -> Path | None:
    """Returns the database file of a tracking address, if it is the address of one."""
    if not uri.startswith(("sqlite:", "sqlite+")):
        return None
    database = sqlalchemy.make_url(uri).database
    return None if not database or database == ":memory:" or database.startswith("file:") else Path(database).absolute()


def check_address(uri: str) -> None:
    """Refuses an address that MLflow could never log to, whoever answers there.

    Raises:
        DeliveryBlocked: It has no scheme, another one than MLflow knows, no host, or is that of a folder.
    """
    shown = repr(uri.rpartition("@")[2].partition("?")[0])  # a password may stand before, or behind
    received = f"Received: MLFLOW_TRACKING_URI={shown}"
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DeliveryBlocked(f"{EXPECTED}: {error}. {received}") from None
    scheme = parts.scheme.partition("+")[0]
    if (scheme in SERVERS and host) or uri == "databricks":
        return
    if scheme in DATABASES:
        _check_database(uri, received)
    elif scheme in ("", "file"):
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("true", "1"):
            raise DeliveryBlocked(
                f"{EXPECTED}: without a scheme, or with file:, it is a folder, and MLflow logs to none. {received}"
            )
    elif scheme not in {"databricks", *_plugins()}:
        raise DeliveryBlocked(f"{EXPECTED}. {received}")


def _plugins() -> set[str]:
    return {plugin.name for plugin in entry_points(group="mlflow.tracking_store")}


def _check_database(uri: str, received: str) -> None:
    try:
        url = sqlalchemy.make_url(uri)
        sqlalchemy.create_engine(url)
    except ModuleNotFoundError as error:
        # An installation without the steps: the command says what to install.
        if error.name == "sqlalchemy":
            raise
        raise DeliveryBlocked(f"{error.name} is missing, which this database needs. {received}") from None
    except (sqlalchemy.exc.ArgumentError, ValueError, TypeError):
        raise DeliveryBlocked(f"{EXPECTED}. {received}") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise DeliveryBlocked(f"{EXPECTED}: a database in memory ends with each step. {received}")
