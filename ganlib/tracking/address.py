"""Addresses of tracking stores: conversion from and to database files, and a check that MLflow can log to them."""

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
MAX_PATH = 504  # bytes; the limit of SQLite, whose journal's name is eight bytes longer


class DeliveryBlocked(ValueError):  # noqa: N818  # a state, which a server reports in many ways
    """MLflow refuses everything until the user acts: the address is wrong, or the run or experiment was deleted."""


def store_uri(file: Path) -> str:
    """Returns the tracking address of a database file.

    Args:
        file: Absolute path; any characters are allowed in it.

    Raises:
        ValueError: The path cannot be written as an address, or is too long for SQLite.
    """
    path = str(file)
    if len(os.fsencode(path)) > MAX_PATH:
        raise ValueError(f"expected a path of at most {MAX_PATH} bytes, SQLite's limit. Received: path={path!r}")
    try:
        # MLflow creates the parent folder of the path after `sqlite:///` without decoding it, which would be another
        # folder. It does not do so if the address names the driver.
        driver = "sqlite" if path == _quote(path) else "sqlite+pysqlite"
        uri = sqlalchemy.URL.create(driver, database=path).render_as_string()
        decoded = sqlalchemy.make_url(uri).database
    except UnicodeEncodeError:
        decoded = None
    if decoded != path:
        raise ValueError(f"expected a path that can be written as an address. Received: path={path!r}")
    return uri


def _quote(path: str) -> str:
    return str(sqlalchemy.URL.create("sqlite", database=path).render_as_string()).removeprefix("sqlite:///")


def store_file(uri: str) -> Path | None:
    """Returns the database file of a tracking address, or None if the address is not that of a file."""
    if not uri.startswith(("sqlite:", "sqlite+")):
        return None
    database = sqlalchemy.make_url(uri).database
    return None if not database or database == ":memory:" or database.startswith("file:") else Path(database).absolute()


def check_address(uri: str) -> None:
    """Checks that an address is one that MLflow can log to. Does not contact the server.

    Raises:
        DeliveryBlocked: The address has no scheme, an unknown scheme or no host, or is that of a folder.
    """
    shown = repr(uri.rpartition("@")[2].partition("?")[0])  # the rest may contain a password
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
                f"{EXPECTED}: without a scheme, or with file:, it is a folder, which MLflow cannot use. {received}"
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
        # An installation without the extra for steps: the command reports what to install.
        if error.name == "sqlalchemy":
            raise
        raise DeliveryBlocked(f"this database needs the module {error.name}, which is missing. {received}") from None
    except (sqlalchemy.exc.ArgumentError, ValueError, TypeError):
        raise DeliveryBlocked(f"{EXPECTED}. {received}") from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise DeliveryBlocked(f"{EXPECTED}: a database in memory is lost at the end of each step. {received}")
