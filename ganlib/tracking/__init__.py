"""Records runs, always as JSON lines on disk, and in MLflow whenever it can be reached.

A tracked folder contains `history.jsonl` (a row of metrics per step), `tracking.jsonl` (everything else) and
`tracking.json` (which MLflow run it belongs to). These files are the source of truth. A background thread uploads them
to MLflow. It first asks the server what it already has, so nothing is logged twice, even if a run is killed, resumed or
delivered again. A server that cannot be reached does not affect training: the thread reports it once, tries again from
time to time, and once more at the end.

MLflow's asynchronous logging would replace only the thread. It keeps waiting records in memory, where a killed process
loses them, and logs what a resumed run repeats twice.
"""

from ganlib.tracking.address import DeliveryBlocked, check_address, store_file, store_uri
from ganlib.tracking.background import sync_command
from ganlib.tracking.delivery import deliver
from ganlib.tracking.folder import (
    DEFAULT_EXPERIMENT,
    HISTORY,
    IDENTITY,
    JOURNAL,
    RunGroup,
    error_summary,
    flatten,
    forget,
    has_pending,
    redact,
    run_id,
    tracked_folders,
)
from ganlib.tracking.store import create_store
from ganlib.tracking.tracker import Tracker

__all__ = [
    "DEFAULT_EXPERIMENT",
    "HISTORY",
    "IDENTITY",
    "JOURNAL",
    "DeliveryBlocked",
    "RunGroup",
    "Tracker",
    "check_address",
    "create_store",
    "deliver",
    "error_summary",
    "flatten",
    "forget",
    "has_pending",
    "redact",
    "run_id",
    "store_file",
    "store_uri",
    "sync_command",
    "tracked_folders",
]
