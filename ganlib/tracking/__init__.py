"""What is worth remembering of a run: JSON lines on disk always, MLflow whenever it can be reached.

A tracked folder holds `history.jsonl` (one row of metrics a step), `tracking.jsonl` (everything else)
and `tracking.json` (which MLflow run it belongs to). These files are the source of truth. A courier
thread brings them to MLflow; it asks the server what is there already, so nothing is logged twice
however often a run is killed, resumed, or delivered again. A server that is away costs training
nothing: the courier says so once, tries again now and then, and once more at the end.
"""

from ganlib.tracking.address import DeliveryBlocked, check_address, store_file, store_uri
from ganlib.tracking.background import deliver_command
from ganlib.tracking.delivery import deliver
from ganlib.tracking.folder import (
    DEFAULT_EXPERIMENT,
    HISTORY,
    IDENTITY,
    JOURNAL,
    error_summary,
    flatten,
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
    "Tracker",
    "check_address",
    "create_store",
    "deliver",
    "deliver_command",
    "error_summary",
    "flatten",
    "has_pending",
    "redact",
    "run_id",
    "store_file",
    "store_uri",
    "tracked_folders",
]
