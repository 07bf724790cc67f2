"""Chooses between the user's MLflow server and the one of KFP's MLflow plugin, in a step on a cluster.

The plugin of KFP 2.17 writes `KFP_MLFLOW_CONFIG` and the credentials of its server into all containers, and, with
`injectUserEnvVars`, `MLFLOW_TRACKING_URI` and `MLFLOW_RUN_ID`, after the variables of the pipeline, so that they win
(`initPodSpecPatch` in driver.go). KFP's launcher, in the same container, reads the credentials from the variables of
MLflow. So the user's server and credentials have variables of their own, and meet the plugin's nowhere. A server in
MLflow's own variable, from the image or a pipeline of somebody else, is the user's if it is not the plugin's.
"""

from __future__ import annotations

import json
import os

from ganlib.credentials import one_line

OWN_PREFIX = "GAN_PIPELINES_"
OWN_SERVER = f"{OWN_PREFIX}MLFLOW_TRACKING_URI"
PLUGIN = f"{OWN_PREFIX}MLFLOW_PLUGIN"
ON, OFF = "on", "off"
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SERVER, CONFIG = "MLFLOW_TRACKING_URI", "KFP_MLFLOW_CONFIG"
OTHERS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_WORKSPACE", "MLFLOW_TRACKING_AUTH")


def choose_server() -> None:
    """Sets the variables of MLflow for this process: to the user's server, if there is one, or to the plugin's.

    Credentials only go to the server that they belong to. If the user wants none of the plugin, its variables are
    removed, and a line says that it records the run as well.

    Raises:
        ValueError: A credential is not one line.
    """
    own, injected = _users_server(), CONFIG in os.environ
    unwanted: tuple[str, ...] = (*OTHERS, *CREDENTIALS)
    if injected and os.environ.get(SERVER, "").rstrip("/") == _endpoint():
        unwanted = (SERVER, *unwanted)
    elif injected and own and not os.environ.get(OWN_SERVER):
        unwanted = CREDENTIALS  # the plugin sets the others with its address alone, so they are the user's
        if login := [name for name in CREDENTIALS if name in os.environ]:
            print(
                f"tracking: {', '.join(login)} may be of KFP's MLflow plugin and not of the server in {SERVER}, and is "
                f"not used; for that server, put {OWN_PREFIX} before the names",
                flush=True,
            )
    if injected and (own or os.environ.get(PLUGIN) == OFF):
        for name in unwanted:
            os.environ.pop(name, None)
        print(
            "tracking: KFP's MLflow plugin records this run, too, which this pipeline does not use. To turn it off for "
            'a run: platform.backend=2.17 for `submit`, or plugins_input {"mlflow": {"disabled": true}}',
            flush=True,
        )
    if own:
        os.environ[SERVER] = own
    for name in CREDENTIALS:
        value = os.environ.pop(f"{OWN_PREFIX}{name}", None)
        if value is not None and (own or not injected):
            os.environ[name] = value
        if name in os.environ:
            os.environ[name] = one_line(name, os.environ[name])


def keeps_plugin() -> bool:
    """Returns whether this step records its run on the server of KFP's plugin, before and after `choose_server`."""
    return CONFIG in os.environ and not _users_server() and os.environ.get(PLUGIN) != OFF


def _users_server() -> str | None:
    """Returns the address in the user's own variable or, beside the plugin, in MLflow's, if it is not the plugin's."""
    own, server = os.environ.get(OWN_SERVER), os.environ.get(SERVER, "")
    if own or CONFIG not in os.environ or server.rstrip("/") in ("", _endpoint()):
        return own
    return server


def _endpoint() -> str | None:
    """Returns the address of the plugin's server."""
    try:
        return str(json.loads(os.environ[CONFIG])["endpoint"]).rstrip("/")
    except (ValueError, KeyError, TypeError):
        return None
