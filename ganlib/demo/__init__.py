"""A page on this machine to play with an exported model: images of seeds, walks between them, and one's own pictures.

The page is a few files of this package, served by FastAPI, which MLflow brings along. Gradio 6.31 needs Pillow before
13, while this project pins 13, and it reports its use unless the environment forbids it. The price: a brush of our own.
"""

from ganlib.demo.app import MOST_BYTES, build_app, serve
from ganlib.demo.guard import LOOPBACK
from ganlib.demo.model import DemoModel

__all__ = ["LOOPBACK", "MOST_BYTES", "DemoModel", "build_app", "serve"]
