"""Small exported folders for servers: untrained generators, and functions of images whose results are known."""

import base64
import io

import exported_models
import numpy as np
import tensorflow as tf
from PIL import Image

from ganlib.export.mlflow_model import write_mlflow_model
from ganlib.export.network import save_signatures, signatures
from ganlib.inference import Inputs
from ganlib.models import Dcgan
from ganlib.tasks import Generation

CLASSES = ("cat", "dog", "7")
LATENT_DIM, SHAPE = 8, (16, 16, 3)


def generator(folder, *, classes=CLASSES):
    """Writes a generator with random weights; with classes, it takes a label, and each has other images.

    The weights that training begins with give the same grey image for all.
    """
    task = Generation(latent_dim=LATENT_DIM, conditional=bool(classes))
    networks = task.generators(Dcgan(width=4), image_shape=SHAPE, classes=len(classes), dtype="float32", seed=None)
    random = np.random.default_rng(0)
    for network in networks.values():
        for variable in network.trainable_variables:
            variable.assign(random.normal(0, 0.5, variable.shape))
    save_signatures(
        networks, signatures(networks, task, image_shape=SHAPE, classes=len(classes)), folder / "saved_model"
    )
    Inputs(classes=classes).write(folder)
    return finish(folder)


def functions(folder, named, *, inputs=None):
    """Writes functions of images, such as those of `exported_models`."""
    return finish(exported_models.save(folder, named, inputs=inputs or {}))


def finish(folder):
    write_mlflow_model(folder, requirements=[f"tensorflow=={tf.__version__}", f"numpy=={np.__version__}"])
    return folder


def to_text(image, *, form="PNG"):
    """Returns pixels as a file in base64."""
    pixels = np.asarray(image)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(file, format=form)
    return base64.b64encode(file.getvalue()).decode()


def from_text(text):
    """Returns the pixels of a PNG file in base64, [H, W, C]."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture).reshape(picture.height, picture.width, -1)
