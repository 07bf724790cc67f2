"""What is worth remembering of a run: JSON lines on disk always, MLflow whenever it can be reached.

A tracked folder holds `history.jsonl` (one row of metrics a step), `tracking.jsonl` (everything else)
and `tracking.json` (which MLflow run it belongs to). These files are the source of truth. A courier
thread brings them to MLflow; it asks the server what is there already, so nothing is logged twice
however often a run is killed, resumed, or delivered again. A server that is away costs training
nothing: the courier says so once, tries again now and then, and once more at the end.

MLflow's asynchronous logging would take the place of the thread alone: what waits there is in memory, where a killed
process loses it, and what a resumed run repeats would be logged twice.
"""

from ganlib.tracking.address import Blocked, check_address, store_file, store_uri
from ganlib.tracking.courier import sync_command
from ganlib.tracking.delivery import deliver
from ganlib.tracking.folder import (
    DEFAULT_EXPERIMENT,
    HISTORY,
    IDENTITY,
    JOURNAL,
    flattened,
    pending,
    reason,
    redacted,
    run_id,
    tracked_folders,
)
from ganlib.tracking.store import initialise
from ganlib.tracking.tracker import Tracker

__all__ = [
    "DEFAULT_EXPERIMENT",
    "HISTORY",
    "IDENTITY",
    "JOURNAL",
    "Blocked",
    "Tracker",
    "check_address",
    "deliver",
    "flattened",
    "initialise",
    "pending",
    "reason",
    "redacted",
    "run_id",
    "store_file",
    "store_uri",
    "sync_command",
    "tracked_folders",
]
