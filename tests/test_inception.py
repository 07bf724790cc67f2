"""The canonical Inception network: its shapes, its arithmetic, what it is filled from, and how it is recognised."""

import contextlib
import gzip
import hashlib
import json
import os
import socket
import urllib.request

import damaged_files
import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from inception_files import archive, graph_file, port_file, random_weights
from web_server import Cut

from ganlib import storage
from ganlib.evaluation import EvaluationConfig
from ganlib.evaluation.extractors import FittedExtractor, Inception, inception_network, inception_weights, torch_file
from ganlib.evaluation.measures.frechet import frechet_distance
from ganlib.evaluation.measures.kernel import kernel_distance
from ganlib.evaluation.measures.precision_recall import precision_recall
from ganlib.evaluation.statistics import Statistics
from pipelines.command.main import main

GENUINE = os.environ.get("GAN_PIPELINES_INCEPTION")  # before a fixture clears the environment
CIFAR10 = os.environ.get("GAN_PIPELINES_CIFAR10")  # npz of x_train, x_test, uint8 [N, 32, 32, 3]
SIDES = {"conv": 149, "conv_1": 147, "conv_2": 147, "pool": 73, "conv_3": 73, "conv_4": 71, "pool_1": 35}
WIDTHS = {"mixed": 256, "mixed_1": 288, "mixed_2": 288, "mixed_8": 1280, "mixed_9": 2048, "mixed_10": 2048}


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture(scope="module")
def files(weights, tmp_path_factory):
    """The same random weights in each of the three files."""
    folder, graph = tmp_path_factory.mktemp("weights"), graph_file(weights)
    contents = {"port.pth": port_file(weights), "graph.pb": graph, "archive.tgz": archive(graph)}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def fitted(files):
    return Inception().fit(None, seed=0, weights=files / "port.pth")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).integers(0, 256, (3, 40, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(2).uniform(0, 255, (2, 299, 299, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def outputs(fitted, pictures):
    return [output.numpy() for output in fitted.network(pictures)]


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_every_layer_has_the_size_it_has_in_the_original(fitted):
    sides = SIDES | {f"mixed_{n}".removesuffix("_0"): 35 if n < 3 else 17 if n < 8 else 8 for n in range(11)}
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in fitted.network.layers}
    assert {name: shapes[name][:2] for name in sides} == {name: (side, side) for name, side in sides.items()}
    widths = dict.fromkeys([f"mixed_{n}" for n in range(3, 8)], 768) | WIDTHS
    assert {name: shapes[name][2] for name in widths} == widths
    assert shapes["pool_3"] == (2048,)
    assert shapes["softmax"] == (1008,)


def test_there_are_94_convolutions_of_the_shapes_that_the_graph_has(fitted):
    shapes = inception_network.kernel_shapes()
    layers = [layer for layer in fitted.network.layers if isinstance(layer, keras.layers.Conv2D)]
    found = {layer.name: tuple(layer.kernel.shape) for layer in layers}
    assert found == {inception_network.layer_name(scope): shape for scope, shape in shapes.items()}
    assert len(found) == 94


def test_names_and_shapes_are_those_of_the_genuine_port(shared_data, weights):
    genuine = json.loads((shared_data / "inception_partial" / "state_dict_shapes.json").read_text())
    back = {4: (3, 2, 0, 1), 2: (1, 0)}
    ours = {
        theirs: list(weights[own].transpose(back.get(weights[own].ndim)).shape)
        for own, theirs in inception_weights.PORT_NAMES.items()
    }
    assert ours == genuine


def original(weights, x):
    """The network once more, from TensorFlow's own operations in float64, batch norms left as they are."""

    def conv(x, scope, stride=1, padding="SAME"):
        norm = {name: weights[f"{scope}/batchnorm/{name}"].astype(np.float64) for name in inception_weights.BATCH_NORM}
        x = tf.nn.conv2d(x, weights[f"{scope}/conv2d_params"].astype(np.float64), stride, padding)
        return tf.nn.relu(
            (x - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3) * norm["gamma"] + norm["beta"]
        )

    def chain(x, scope, count, **last):
        for n in range(count):
            x = conv(x, f"{scope}/conv_{n}".removesuffix("_0"), **(last if n == count - 1 else {}))
        return x

    def fork(x, scope):
        return [conv(x, f"{scope}/mixed/conv"), conv(x, f"{scope}/mixed/conv_1")]

    def halved(x):
        return tf.nn.max_pool2d(x, 3, 2, "VALID")

    def mean(x):
        ones = tf.ones_like(x[..., :1])
        box = tf.ones((3, 3, 1, 1), tf.float64)
        counts = tf.nn.conv2d(ones, box, 1, "SAME")
        return tf.nn.depthwise_conv2d(x, tf.tile(box, (1, 1, x.shape[3], 1)), (1, 1, 1, 1), "SAME") / counts

    half = {"stride": 2, "padding": "VALID"}
    x = conv((tf.cast(x, tf.float64) - 128.0) / 128.0, "conv", **half)
    x = halved(conv(conv(x, "conv_1", padding="VALID"), "conv_2"))
    x = halved(conv(conv(x, "conv_3"), "conv_4", padding="VALID"))
    for block in ("mixed", "mixed_1", "mixed_2", "mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        if block == "mixed_4":
            double = chain(x, "mixed_3/tower", 3, **half)
            x = tf.concat([conv(x, "mixed_3/conv", **half), double, halved(x)], 3)
        short, long = (2, 3) if x.shape[1] == 35 else (3, 5)
        towers = [chain(x, f"{block}/tower", short), chain(x, f"{block}/tower_1", long)]
        x = tf.concat([conv(x, f"{block}/conv"), *towers, conv(mean(x), f"{block}/tower_2/conv")], 3)
    x = tf.concat([chain(x, "mixed_8/tower", 2, **half), chain(x, "mixed_8/tower_1", 4, **half), halved(x)], 3)
    for block in ("mixed_9", "mixed_10"):
        pooled = mean(x) if block == "mixed_9" else tf.nn.max_pool2d(x, 3, 1, "SAME")
        towers = [*fork(chain(x, f"{block}/tower", 1), f"{block}/tower")]
        towers += fork(chain(x, f"{block}/tower_1", 2), f"{block}/tower_1")
        x = tf.concat([conv(x, f"{block}/conv"), *towers, conv(pooled, f"{block}/tower_2/conv")], 3)
    features = tf.reduce_mean(x, (1, 2))
    return features.numpy(), (features @ weights["softmax/weights"].astype(np.float64)).numpy()


def test_it_computes_what_the_original_graph_says(weights, pictures, outputs):
    features, logits = original(weights, pictures[:1])
    assert features.std() > 0.1
    assert relative(outputs[0][:1], features) < 1e-5
    assert relative(outputs[1][:1], logits) < 1e-5


def test_the_kind_of_file_does_not_matter(files, outputs, pictures):
    port = inception_weights.read(files / "port.pth")
    for file in ("graph.pb", "archive.tgz"):
        other = inception_weights.read(files / file)
        assert other.tensors.keys() == port.tensors.keys()
        assert all(np.array_equal(other.tensors[name], port.tensors[name]) for name in port.tensors)
        assert other.sha256 == hashlib.sha256((files / file).read_bytes()).hexdigest()
    network = inception_network.build()
    inception_weights.read(files / "graph.pb").fill(network)
    assert relative(network(pictures)[0].numpy(), outputs[0]) < 1e-6


def test_a_graph_without_gamma_has_gamma_one(weights, tmp_path):
    (tmp_path / "graph.pb").write_bytes(graph_file({k: v for k, v in weights.items() if not k.endswith("gamma")}))
    tensors = inception_weights.read(tmp_path / "graph.pb").tensors
    assert all((tensors[name] == 1).all() for name in tensors if name.endswith("gamma"))


def test_a_constant_written_once_for_all_elements_is_spread_over_them(weights, tmp_path):
    flat = weights | {"conv/batchnorm/gamma": np.full(32, 1.5, np.float32)}
    (tmp_path / "graph.pb").write_bytes(graph_file(flat))
    assert inception_weights.read(tmp_path / "graph.pb").tensors["conv/batchnorm/gamma"].tolist() == [1.5] * 32


def test_images_in_company_or_alone_have_the_same_features(fitted, images, outputs, pictures):
    alone = np.concatenate([fitted.network(picture[None])[0].numpy() for picture in pictures])
    assert relative(alone, outputs[0]) < 1e-5
    few = FittedExtractor(**(vars(fitted) | {"batch": 2}))
    together, _ = few.all_outputs([images])
    apart, _ = few.all_outputs([image[None] for image in images])
    assert together.shape == (3, 2048)
    assert relative(apart, together) < 1e-5


def test_xla_does_not_change_the_features(fitted, pictures, outputs):
    compiled = tf.function(fitted.network, jit_compile=True)
    assert relative(compiled(pictures)[0].numpy(), outputs[0]) < 1e-5


def test_a_global_policy_of_mixed_precision_does_not_reach_it():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = inception_network.build()
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in network.layers[1:]} == {"float32"}  # the first is the input
    assert {output.dtype for output in network.outputs} == {"float32"}


def test_saved_and_loaded_it_is_the_same(fitted, tmp_path, pictures, outputs):
    fitted.save(tmp_path)
    loaded = FittedExtractor.load(tmp_path)
    assert np.array_equal(loaded.network(pictures)[0].numpy(), outputs[0])
    assert loaded.sha256 == fitted.sha256
    assert (loaded.name, loaded.resize_mode, loaded.canonical, loaded.facts) == (
        "inception_legacy",
        "legacy",
        False,
        fitted.facts,
    )


def test_the_hash_is_of_the_weights(files, weights, fitted, tmp_path):
    (tmp_path / "graph.pb").write_bytes(graph_file(weights | {"conv/batchnorm/beta": np.zeros(32, np.float32)}))
    assert Inception().fit(None, seed=7, weights=files / "graph.pb").sha256 == fitted.sha256
    assert Inception().fit(None, seed=0, weights=tmp_path / "graph.pb").sha256 != fitted.sha256


def test_grey_images_are_three_equal_channels(fitted, images):
    few = FittedExtractor(**(vars(fitted) | {"batch": 1}))
    grey = images[:1, ..., :1]
    assert np.array_equal(few.all_outputs([grey])[0], few.all_outputs([np.repeat(grey, 3, axis=3)])[0])


def test_the_resize_modes_are_two_spaces(files, images, fitted):
    clean = Inception(resize_mode="clean").fit(None, seed=0, weights=files / "port.pth")
    assert (fitted.name, clean.name) == ("inception_legacy", "inception_clean")
    few = [FittedExtractor(**(vars(space) | {"batch": 1})).all_outputs([images[:1]])[0] for space in (fitted, clean)]
    assert relative(*few) > 1e-3


def test_other_weights_are_said_to_be_others_and_their_scores_are_not_called_fid(files, capsys):
    space = Inception().fit(None, seed=0, weights=files / "graph.pb")
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: these are not the canonical Inception weights")
    assert str(files / "graph.pb") in line
    assert not space.canonical
    assert not space.facts["recognised"]
    assert space.facts["fingerprints"] == "13 of 472 tensors"
    assert space.measure("fd") == "fd_inception_legacy"


@pytest.fixture
def known(weights, monkeypatch):
    """Has the random weights recognised as the canonical ones; returns their fingerprints."""
    for name in inception_weights.FINGERPRINTS:
        monkeypatch.setitem(inception_weights.FINGERPRINTS, name, hashlib.sha256(weights[name]).hexdigest())
    return dict(inception_weights.FINGERPRINTS)


def test_weights_with_the_known_fingerprints_make_the_space_of_fid(files, known, capsys):
    space = Inception(resize_mode="clean").fit(None, seed=0, weights=files / "archive.tgz")
    assert space.canonical
    assert (space.measure("fd"), space.measure("kd")) == ("fid_clean", "kid_clean")
    assert not capsys.readouterr().out
    port = inception_weights.read(files / "port.pth")
    assert not port.recognised  # for its own hash is published too
    assert port.fingerprints == "13 of 472 tensors, and 8 digits of the file's SHA-256"


@pytest.fixture
def published(server, files, tmp_path, monkeypatch):
    """The web server in the place of the public address, and an empty cache; returns the file's place in it."""
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(inception_weights, "ADDRESS", f"{server.url}/inception-2015-12-05.tgz")
    server.files["/inception-2015-12-05.tgz"] = (files / "archive.tgz").read_bytes()
    return storage.cache_path(inception_weights.ADDRESS)


def test_without_a_file_the_weights_are_downloaded_once(server, published, known, digits):
    space = EvaluationConfig(extractor="inception").space(labelled=True).fit(digits, seed=0)
    assert (space.measure("fd"), space.measure("kd")) == ("fid_legacy", "kid_legacy")
    assert space.facts["weights_sha256"] == storage.sha256(published)
    server.files.clear()
    assert inception_weights.canonical().recognised
    assert server.asked == ["/inception-2015-12-05.tgz"]
    assert os.listdir(published.parent) == [published.name]
    published.write_bytes(published.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"delete this file to download them again\. Received: path=") as caught:
        inception_weights.canonical()
    assert str(published) in str(caught.value)


def test_no_network_is_needed_for_what_is_in_the_cache(published, known, files, monkeypatch):
    """Whichever of the three files somebody has put there."""
    published.parent.mkdir()
    published.write_bytes((files / "graph.pb").read_bytes())
    monkeypatch.setattr(urllib.request, "build_opener", lambda *_: pytest.fail("the server was asked"))
    assert inception_weights.canonical().recognised


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("gone", "no such file (404)"),
        ("cut", "the download ended after 1000 of"),
        ("refused", "the server cannot be reached: "),
        ("other weights", "the downloaded file is not the one that defines FID, or it was changed on the way"),
        ("a page", "the downloaded file is not the one that defines FID, or it was changed on the way"),
    ],
)
def test_weights_that_cannot_be_had_are_one_line_that_says_where_to_put_them(
    problem, reason, server, published, files, images, tmp_path, monkeypatch
):
    path = "/inception-2015-12-05.tgz"
    if problem == "gone":
        del server.files[path]
    elif problem == "cut":
        server.files[path] = Cut(server.files[path])
    elif problem == "refused":
        with contextlib.closing(socket.create_server(("localhost", 0))) as closed:
            port = closed.getsockname()[1]
        monkeypatch.setattr(inception_weights, "ADDRESS", f"https://localhost:{port}{path}")
        published = storage.cache_path(inception_weights.ADDRESS)
    elif problem == "a page":
        server.files[path] = b"<html>log in first</html>"
    np.savez(tmp_path / "few.npz", images=images)
    few = str(tmp_path / "few.npz")
    result = CliRunner().invoke(main, ["score", few, few, "--space", "inception"])
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("error: the Inception weights cannot be downloaded: ")
    advice = (
        f"Download them yourself to {published}, or set evaluation.inception_weights (`score`: --weights) to a file"
    )
    assert line.endswith(advice)
    assert reason in line
    assert not published.exists()


def test_the_fingerprints_recognise_what_is_there_of_the_genuine_file(shared_data):
    folder = shared_data / "inception_partial"
    published = json.loads((folder / "tf_layout_fingerprints.json").read_text())
    assert {name: entry["sha256"] for name, entry in published.items()} == inception_weights.FINGERPRINTS
    found = torch_file.tensors((folder / "truncated_pt_inception.pth").read_bytes(), complete=False)
    tensors = inception_weights.to_graph_layout(found)
    assert not inception_weights.unknown_tensors(tensors)
    changed = tensors["conv/conv2d_params"].copy()
    changed[0, 0, 0, 0] = np.nextafter(changed[0, 0, 0, 0], 1)
    assert inception_weights.unknown_tensors(tensors | {"conv/conv2d_params": changed}) == ["conv/conv2d_params"]
    assert inception_weights.unknown_tensors({}) == list(inception_weights.FINGERPRINTS)


def test_the_genuine_file_cut_off_gets_one_line(shared_data):
    with pytest.raises(
        ValueError, match=r"truncated: expected 95\d{6} bytes, found 818371\. Received: path="
    ) as caught:
        inception_weights.read(shared_data / "inception_partial" / "truncated_pt_inception.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [*damaged_files.TARS, "one hole"])
def test_an_archive_that_claims_what_is_not_so_gets_one_line(kind, tmp_path):
    graph = "classify_image_graph_def.pb"
    (tmp_path / "archive.tgz").write_bytes(gzip.compress(damaged_files.tar(kind, graph)))
    with pytest.raises(ValueError, match=r"the archive is damaged or truncated: .* Received: path=") as caught:
        inception_weights.read(tmp_path / "archive.tgz")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def genuine():
    if not GENUINE:
        pytest.skip("needs the genuine weights: GAN_PIPELINES_INCEPTION is not set")
    return inception_weights.Path(GENUINE)


def test_the_genuine_weights_are_recognised(genuine):
    assert inception_weights.read(genuine).recognised


@pytest.fixture(scope="module")
def cifar10(genuine):
    """Features of all of CIFAR-10, [50,000, 2048] and [10,000, 2048]."""
    if not CIFAR10:
        pytest.skip("needs lossless CIFAR-10: GAN_PIPELINES_CIFAR10 is not set")
    space = Inception().fit(None, seed=0, weights=genuine)
    with np.load(CIFAR10, allow_pickle=False) as data:
        return [space.all_outputs([data[name]])[0] for name in ("x_train", "x_test")]


def test_five_thousand_of_cifar10_have_the_scores_that_others_measure(cifar10):
    train, test = (features[:5000] for features in cifar10)
    assert frechet_distance(Statistics.of([train]), Statistics.of([test])) == pytest.approx(10.3233274, abs=1e-3)
    assert kernel_distance(train, test)[0] == pytest.approx(-2.9e-5, abs=2e-5)
    precision, recall = precision_recall(train, test)
    assert precision == pytest.approx(0.6852, abs=2e-3)
    assert recall == pytest.approx(0.6908, abs=2e-3)


def test_all_of_cifar10_has_the_fid_that_others_measure(cifar10):
    train, test = (Statistics.of([features]) for features in cifar10)
    assert frechet_distance(train, test) == pytest.approx(3.1, abs=0.1)
