"""A server of the tests in a thread of its own."""

import contextlib
import threading


@contextlib.contextmanager
def running(server):
    """Serves until the end of the block, and closes the server."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
