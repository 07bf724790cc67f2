"""The feature space of a small network that was trained on photos."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from ganlib.data import Images
from ganlib.evaluation.extractors import FittedExtractor, SqueezeNet
from ganlib.evaluation.extractors.resizing import resize_images
from ganlib.evaluation.measures.kernel import kernel_distance

FILE = "squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5"
SQUEEZED = {2: 16, 3: 16, 4: 32, 5: 32, 6: 48, 7: 48, 8: 64, 9: 64}


def random_weights():
    """Kernel and bias of every convolution by its name, as the network of the paper has them."""
    random, depth = np.random.default_rng(0), 64

    def drawn(side, before, after):
        scale = np.sqrt(2 / (side * side * before))
        return random.normal(0, scale, (side, side, before, after)).astype("f4"), random.normal(0, 0.1, after).astype(
            "f4"
        )

    found = {"conv1": drawn(3, 3, depth)}
    for number, width in SQUEEZED.items():
        found[f"fire{number}/squeeze1x1"] = drawn(1, depth, width)
        found[f"fire{number}/expand1x1"] = drawn(1, width, 4 * width)
        found[f"fire{number}/expand3x3"] = drawn(3, width, 4 * width)
        depth = 8 * width
    return found


def write(path, weights):
    """Writes a file with the names that the world's has."""
    with h5py.File(path, "w") as file:
        for count, (name, (kernel, bias)) in enumerate(weights.items(), 1):
            file[f"{name}/uniform{count}"] = kernel
            file[f"{name}/{name}_b"] = bias


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture(scope="module")
def file(tmp_path_factory, weights):
    path = tmp_path_factory.mktemp("squeezenet") / FILE
    write(path, weights)
    return path


def plainly(images, weights):
    """The network once more, in TensorFlow's own operations."""

    def convolved(x, name, strides=1, padding="SAME"):
        kernel, bias = weights[name]
        return tf.nn.relu(tf.nn.conv2d(x, kernel, strides, padding) + bias)

    x = resize_images(images, resize_mode="clean", side=96)
    x = tf.reverse(x, [3]) - tf.constant([103.939, 116.779, 123.68])
    x = convolved(x, "conv1", 2, "VALID")
    for number in SQUEEZED:
        if number in (2, 4, 6):
            x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        x = convolved(x, f"fire{number}/squeeze1x1")
        x = tf.concat([convolved(x, f"fire{number}/expand{part}") for part in ("1x1", "3x3")], axis=3)
    return tf.reduce_mean(x, axis=(1, 2)).numpy()


def test_the_network_is_the_one_of_the_paper(file, weights):
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    found, _ = SqueezeNet(weights=str(file)).load().all_outputs([images])
    expected = plainly(images, weights)
    assert found.shape == (3, 512)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_saved_space_is_the_same_space(file, tmp_path):
    space = SqueezeNet().load(file)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    space.save(tmp_path)
    again = FittedExtractor.load(tmp_path)
    assert (again.measure("fd"), again.sha256) == ("fd_squeezenet", space.sha256)
    np.testing.assert_array_equal(again.all_outputs([images])[0], space.all_outputs([images])[0])


def test_the_real_weights_tell_noise_that_is_hardly_seen(shared_data):
    path = shared_data / FILE
    if not path.is_file():
        pytest.skip(f"needs {path}")
    space = SqueezeNet().load(path)
    assert space.facts["weights_sha256"].startswith("17154246")
    images = Images.at(str(shared_data / "flowers_128.zip#test"))
    real = np.concatenate(list(images.batches("rgb")))
    random = np.random.default_rng(0)
    noisy = np.clip(np.rint(real + random.normal(0, 4, real.shape)), 0, 255).astype(np.uint8)
    one, other, spoiled = (space.all_outputs([batch])[0] for batch in (real[::2], real[1::2], noisy[1::2]))
    assert kernel_distance(spoiled, one)[0] > 2 * kernel_distance(other, one)[0]


@pytest.mark.parametrize("name", ["conv1", "fire5/squeeze1x1", "fire9/expand3x3"])
def test_a_file_that_lacks_something_is_refused(name, weights, tmp_path):
    for number, others in enumerate(({}, {name: (weights[name][0][..., :-1], weights[name][1])})):
        path = tmp_path / f"{number}.h5"
        write(path, {key: value for key, value in weights.items() if key != name} | others)
        with pytest.raises(ValueError, match=r"^expected the HDF5 file .*with the weights of SqueezeNet"):
            SqueezeNet().load(path)


def spoil(file, what, other):
    """Puts something else in the place of the first kernel of a file."""
    kernel = file["conv1/uniform1"][()]
    del file["conv1/uniform1"]
    if what == "claims 1 PiB":
        file.create_dataset("conv1/uniform1", (2**12, 2**12, 2**12, 2**12), "f4")
    elif what == "doubles":
        file["conv1/uniform1"] = kernel.astype("f8")
    elif what == "packed":
        file.create_dataset("conv1/uniform1", data=kernel, compression="gzip")
    elif what == "link within":
        file["elsewhere"] = kernel
        file["conv1/uniform1"] = h5py.SoftLink("/elsewhere")
    elif what == "link to another file":
        file["conv1/uniform1"] = h5py.ExternalLink(str(other), "/conv1/uniform1")
    elif what == "bytes of another file":
        other.with_suffix(".raw").write_bytes(kernel.tobytes())
        place = [(str(other.with_suffix(".raw")), 0, kernel.nbytes)]
        file.create_dataset("conv1/uniform1", kernel.shape, "f4", external=place)
    elif what == "array of another file":
        layout = h5py.VirtualLayout(kernel.shape, "f4")
        layout[...] = h5py.VirtualSource(str(other), "conv1/uniform1", kernel.shape)
        file.create_virtual_dataset("conv1/uniform1", layout)
    else:
        kernel[0, 0, 0, 0] = float(what)
        file["conv1/uniform1"] = kernel


@pytest.mark.parametrize(
    "what",
    [
        "claims 1 PiB",
        "doubles",
        "packed",
        "link within",
        "link to another file",
        "bytes of another file",
        "array of another file",
        "nan",
        "inf",
    ],
)
def test_weights_that_do_not_lie_in_the_file_as_they_should_are_refused(what, file, weights, tmp_path):
    path = tmp_path / FILE
    write(path, weights)
    with h5py.File(path, "a") as opened:
        spoil(opened, what, file)
    message = "finite values in conv1/uniform1" if what in ("nan", "inf") else r"float32 \[3, 3, 3, 64\] in conv1"
    with pytest.raises(
        ValueError, match=rf"^expected the HDF5 file .*with the weights of SqueezeNet.* \(expected {message}\)$"
    ):
        SqueezeNet().load(path)


def test_no_file_is_refused():
    with pytest.raises(ValueError, match="expected a file with the weights of SqueezeNet"):
        SqueezeNet().load()
