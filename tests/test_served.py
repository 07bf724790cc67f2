"""What people send to a served model, in Python and over HTTP, and what they get back."""

import base64
import contextlib
import http.client
import io
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import Mock

import exported_models
import numpy as np
import pandas as pd
import pytest
import served_models
import tensorflow as tf
from PIL import Image
from served_models import LATENT_DIM, from_text, to_text

from ganlib.export import trial

KNOWN = "0 = cat, 1 = dog, 2 = 7"
LATENTS = np.random.default_rng(1).normal(size=(3, LATENT_DIM)).astype(np.float32)
PICTURES = np.random.default_rng(2).integers(0, 256, (2, 8, 12, 3), np.uint8)
PICTURE = to_text(PICTURES[0])
WAYS = r"expected the inputs seed, label, \[count\] or latent, label, with \[format\]\. Received: "


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def folder(place):
    return served_models.generator(place / "generator")


def load(folder):
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="module")
def signatures(folder):
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    return loaded.signatures


@pytest.fixture(scope="module")
def translator(place):
    named = {
        "translate": (exported_models.invert, exported_models.any_size()),
        "translate_backward": (exported_models.identity, exported_models.any_size()),
    }
    return load(served_models.functions(place / "translator", named, inputs={"multiple_of": 4, "minimum": 8}))


@pytest.fixture(scope="module")
def painter(place):
    named = {"restore": (exported_models.paint, exported_models.with_masks())}
    return load(served_models.functions(place / "painter", named, inputs={"fixed": [8, 12]}))


def generate(signatures, seed, count, label):
    arguments = {"seed": tf.constant(seed, tf.int64), "label": tf.constant(label, tf.int64)}
    return signatures["generate"](**arguments, count=tf.constant(count))["images"].numpy()


@contextlib.contextmanager
def server_of(model):
    """MLflow's scoring server of a model in a thread; yields a function that asks it."""
    import uvicorn
    from mlflow.pyfunc import scoring_server

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        config = uvicorn.Config(scoring_server.init(model), log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)

        def ask(body):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                text = body if isinstance(body, str) else json.dumps(body)
                connection.request("POST", "/invocations", text, {"Content-Type": "application/json"})
                response = connection.getresponse()
                return response.status, json.loads(response.read())

        try:
            yield ask
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def ask(model):
    with server_of(model) as asked:
        yield asked


def test_one_contract_holds_in_python_and_in_every_form_of_a_request(model, ask, signatures):
    expected = np.concatenate([generate(signatures, 5, 2, 1), generate(signatures, 6, 1, 0)])
    columns = {"seed": [5, 6], "count": [2, 1], "label": ["dog", 0]}
    rows = [{"seed": 5, "count": 2, "label": "dog"}, {"seed": 6, "count": 1, "label": 0}]
    table = {"columns": list(columns), "data": [list(row.values()) for row in rows]}
    for request in (columns, rows, pd.DataFrame(rows), {name: np.array(values) for name, values in columns.items()}):
        np.testing.assert_array_equal(model.predict(request), expected)
    for body in (
        {"inputs": columns},
        {"inputs": rows},
        {"instances": rows},
        {"dataframe_split": table},
        {"dataframe_records": rows},
    ):
        status, answer = ask(body)
        assert status == 200, answer
        np.testing.assert_array_equal(answer["predictions"], expected)
    status, answer = ask({"inputs": {**columns, "format": "png"}})
    np.testing.assert_array_equal([from_text(text) for text in answer["predictions"]], expected)
    assert ask({"inputs": {"seed": 5, "count": 2, "label": 1}})[1]["predictions"] == expected[:2].tolist()
    assert len(ask({"instances": [{"seed": 5, "label": 1}]})[1]["predictions"]) == 1


def test_latents_give_the_images_of_the_network_with_a_label_of_any_kind(model, ask, signatures):
    floats = signatures["serving_default"](latent=tf.constant(LATENTS), label=tf.constant([2, 2, 0], tf.int64))
    expected = np.clip(np.rint((floats["images"].numpy() + 1) * 127.5), 0, 255).astype(np.uint8)
    for label in ([2, 2, 0], ["7", "7", "cat"], ["7", b"7", "0"]):
        np.testing.assert_array_equal(model.predict({"latent": LATENTS, "label": label}), expected)
    status, answer = ask({"inputs": {"latent": LATENTS.tolist(), "label": [2, 2, 0]}})
    assert status == 200
    np.testing.assert_array_equal(answer["predictions"], expected)
    np.testing.assert_array_equal(model.predict({"latent": LATENTS[:2], "label": "7"}), expected[:2])


WRONG = {
    WAYS + r"no input": {},
    WAYS + r"count, label, sede": {"sede": 1, "count": 2, "label": 0},
    WAYS + r"seed": {"seed": 1},
    WAYS + r"label, latent, seed": {"seed": [1, 2, 3], "latent": LATENTS.tolist(), "label": 0},
    WAYS + r"count, label, latent": {"latent": LATENTS.tolist(), "label": 0, "count": 2},
    r"expected whole numbers from 1 to 100 as count\. Received: count=0": {"seed": 1, "count": 0, "label": 0},
    r"as count\. Received: count=101": {"seed": 1, "count": 101, "label": 0},
    r"as count\. Received: count=2\.5": {"seed": 1, "count": 2.5, "label": 0},
    r"as count\. Received: count=True": {"seed": 1, "count": True, "label": 0},
    r"as count\. Received: count=None": {"seed": 1, "count": None, "label": 0},
    r"expected at most 100 images in a request\. Received: 120": {"seed": [1, 2], "count": 60, "label": 0},
    r"whole numbers from 0 to 9223372036854775807 as seed\. Received: seed=-1": {"seed": -1, "label": 0},
    r"as seed\. Received: seed=9223372036854775808": {"seed": 2**63, "label": 0},
    r"as seed\. Received: seed=100000000000000000000": {"seed": 10**20, "label": 0},
    r"as seed\. Received: seed='one'": {"seed": "one", "label": 0},
    r"as seed\. Received: seed=values of shape \[2, 2\]": {"seed": [[1, 2], [3, 4]], "label": 0},
    rf"expected the name or the index of a class \({KNOWN}\)\. Received: label=3": {"seed": 1, "label": 3},
    r"Received: label=-1": {"seed": 1, "label": -1},
    r"Received: label='bird'": {"seed": 1, "label": "bird"},
    r"Received: label=1\.0": {"seed": 1, "label": 1.0},
    r"Received: label=\[0, 1\]": {"seed": [1], "label": [[0, 1]]},
    r"Received: label='99999+\.\.\.": {"seed": 1, "label": "9" * 5000},
    r"expected as many values of each input\. Received: 3 of latent, 2 of label": {
        "latent": LATENTS.tolist(),
        "label": [0, 1],
    },
    r"expected latent as numbers \[N, 8\]\. Received: float64 \[3, 7\]": {
        "latent": LATENTS[:, 1:].tolist(),
        "label": 0,
    },
    r"expected latent as numbers \[N, 8\]\. Received: float64 \[8\]": {"latent": LATENTS[0].tolist(), "label": 0},
    r"expected latent as numbers \[N, 8\]\. Received: other values \[1, 8\]": {
        "latent": [["a"] * LATENT_DIM],
        "label": 0,
    },
    r"expected finite numbers as latent\. Received: NaN": {"latent": [[np.nan] * LATENT_DIM], "label": 0},
    r"expected finite numbers as latent\. .*beyond float32": {"latent": [[1e39] * LATENT_DIM], "label": 0},
    r"expected at least one row\. Received: none": {"latent": [], "label": []},
    r"expected one format for all rows, tensor or png\. Received: format='gif'": {
        "seed": 1,
        "label": 0,
        "format": "gif",
    },
    r"Received: format='png', format='tensor'": {"seed": [1, 2], "label": 0, "format": ["png", "tensor"]},
    r'Received: format="\{': {"seed": 1, "label": 0, "format": {"a": 1}},
    r"as seed\. Received: seed=7\.0": {"seed": 7.0, "label": 0},
    WAYS + r"a{60}\.\.\.$": {"a" * 5000: 1},
    WAYS + r"1\\n2, b0, b1, b2, b3, b4, b5, b6, b7, b8, \.\.\. \(14 in all\)$": {
        "1\n2": 0,
        **{f"b{number}": 0 for number in range(9)},
        **dict.fromkeys("wxyz", 0),
    },
}


@pytest.mark.parametrize("told", WRONG)
def test_a_wrong_request_is_refused_in_one_line_of_python_and_http(model, ask, told):
    with pytest.raises(Exception, match=f"^expected .*{told.removeprefix('expected ')}") as raised:
        model.predict(WRONG[told])
    assert "\n" not in str(raised.value)
    status, answer = ask({"inputs": WRONG[told]})
    assert (status, answer["message"]) == (400, str(raised.value))
    assert not {"stack_trace", "traceback"} & answer.keys()


def test_what_mlflow_refuses_itself_is_400_and_the_server_goes_on(ask):
    good = {"inputs": {"seed": 1, "label": 0}}
    before = ask(good)
    for body in (
        '{"inp',
        [],
        {"seed": 1},
        {"inputs": {"latent": [[1], [1, 2]]}},
        {"instances": [{"seed": 1, "label": 0}, {"seed": 2}]},
        {"inputs": []},
        {"inputs": "seed"},
        {"dataframe_split": {"columns": ["seed", "seed"], "data": [[1, 1]]}},
        {"dataframe_split": {"data": [[1]]}},
    ):
        status, answer = ask(body)
        assert status == 400, (body, answer)
        assert "stack_trace" not in answer
    assert ask(good) == before


@pytest.mark.parametrize("name", ["seed", "label", "latent"])
def test_true_among_numbers_is_no_number(model, name):
    """In Python; over HTTP, MLflow has made an array of the numbers already."""
    inputs = {"latent": LATENTS.tolist(), "label": [0, 1, 2]} if name == "latent" else {"seed": [1, 0], "label": [1, 0]}
    first = inputs[name]
    while isinstance(first[0], list):
        first = first[0]
    first[0] = True
    with pytest.raises(Exception, match=rf"^expected {name} without true and false .* Received: {name}=\[+True, "):
        model.predict(inputs)


def test_a_request_to_mlserver_need_not_say_how_it_is_decoded(model):
    def tensor(name, data, shape):
        return SimpleNamespace(name=name, data=SimpleNamespace(root=data), shape=shape)

    label, latent = tensor("label", ["7", "7", "cat"], [3]), LATENTS.ravel().tolist()
    request = SimpleNamespace(inputs=[tensor("latent", latent, [3, LATENT_DIM]), label])
    expected = model.predict({"latent": LATENTS, "label": ["7", "7", "cat"]})
    np.testing.assert_array_equal(model.predict(request), expected)
    for data, shape in ((latent, [3, 7]), ([1.0], [-1, -1]), ([], [0, -1]), (latent, [3, -1, -8]), ([1.0], [1] * 65)):
        told = (
            rf"its shape of up to 4 sides says\. Received: {len(data)} values, and the shape \[{shape[0]}, {shape[1]}"
        )
        with pytest.raises(Exception, match=rf"^expected as many values of latent as {told}"):
            model.predict(SimpleNamespace(inputs=[tensor("latent", data, shape), label]))
    for told, wrong in {
        r"one input of each name\. Received: several of seed$": [tensor("seed", [1], [1]), tensor("seed", [2], [1])],
        r"whole numbers .* Received: seed=7\.9$": [tensor("seed", [7.9], [1]), tensor("label", [0], [1])],
        r"whole numbers .* Received: seed=True$": [tensor("seed", [True], [1]), tensor("label", [0], [1])],
        r"seed without true and false .* Received: seed=\[7, True\]$": [tensor("seed", [7, True], [2])],
    }.items():
        with pytest.raises(Exception, match=rf"^expected {told}"):
            model.predict(SimpleNamespace(inputs=wrong))


def test_a_name_in_a_message_is_short_and_on_one_line(model):
    for name, shown in {"x\ny": r"x\\ny", "x" * 5000: "x{60}\\.{3}"}.items():
        for values in ([1, True], [[1], [1, 2]]):
            with pytest.raises(Exception, match=rf"^expected .*{shown}[ .].*Received: .{{0,200}}$"):
                model.predict({name: values})


def test_a_class_is_named_before_it_is_counted(place):
    """Also where the names are numbers in another order. What no class is named is an index."""
    folder = served_models.generator(place / "numbered", classes=("2", "0", "5"))
    model, functions = load(folder), tf.saved_model.load(str(folder / "saved_model")).signatures
    for label, index in {"2": 0, 2: 0, "0": 1, 0: 1, 5: 2, "1": 1, 1: 1}.items():
        np.testing.assert_array_equal(model.predict({"seed": 3, "label": label}), generate(functions, 3, 1, index))
    with pytest.raises(Exception, match=r"\(0 = 2, 1 = 0, 2 = 5\)\. Received: label=3$"):
        model.predict({"seed": 3, "label": 3})
    for question in trial._questions(folder)[0]:  # in which the server is compared with class 0
        answer = {"predictions": model.predict(question.inputs)}
        np.testing.assert_array_equal(trial._images(answer), question.images)


def test_what_is_no_label_is_not_the_class_that_is_called_so(place):
    """Missing values, NaN, true and fractions have names in Python. As texts, they are classes like any other."""
    folder = served_models.generator(place / "named", classes=("cat", "None", "True", "nan", "1.5"))
    model, functions = load(folder), tf.saved_model.load(str(folder / "saved_model")).signatures
    for index, label in enumerate(["cat", "None", np.str_("True"), b"nan", "1.5"]):
        for given in (label, [label], [[label]], np.array([label])):
            np.testing.assert_array_equal(model.predict({"seed": 3, "label": given}), generate(functions, 3, 1, index))
    with_numbers = {"seed": [3, 3], "label": [np.int64(0), "cat"]}
    np.testing.assert_array_equal(model.predict(with_numbers), generate(functions, 3, 1, 0).repeat(2, axis=0))
    wrong = [None, np.nan, True, np.bool_(True), 1.5, np.float32(1.5)]
    for label in wrong:
        for given in (label, [label], ["cat", label], ("cat", label), [["cat"], [label]], np.array([label], object)):
            with pytest.raises(
                Exception, match=r"^expected (the name or the index of a class|label without true and f)"
            ):
                model.predict({"seed": 3, "label": given})
    with pytest.raises(Exception, match=r"^expected the name or .*\. Received: label=None$"):
        model.predict([{"seed": 3, "label": "cat"}, {"seed": 4}])
    with pytest.raises(Exception, match=r"^expected the name or .*\. Received: label=nan$"):
        model.predict(pd.DataFrame({"seed": [3, 4], "label": pd.Series(["cat", np.nan], dtype=object)}))
    with server_of(model) as ask:
        for label in wrong[:3]:
            status, answer = ask({"inputs": {"seed": 3, "label": label}})
            assert (status, answer["message"].partition(". Received: ")[2]) == (400, f"label={label!r}")


def test_requests_at_once_do_not_mix(ask, signatures):
    seeds = list(range(24))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda seed: ask({"inputs": {"seed": seed, "label": seed % 3}}), seeds))
    for seed, (status, answer) in zip(seeds, answers, strict=True):
        assert status == 200
        np.testing.assert_array_equal(answer["predictions"], generate(signatures, seed, 1, seed % 3))


def test_pictures_are_answered_as_they_were_sent(translator):
    inverted = 255 - PICTURES
    np.testing.assert_array_equal(translator.predict({"images": PICTURES}), inverted)
    texts = [to_text(image) for image in (PICTURES[0], PICTURES[1], PICTURES[0, :, :8])]
    made = [from_text(text) for text in translator.predict({"image": texts})]  # of two sizes
    for image, expected in zip(made, (inverted[0], inverted[1], inverted[0, :, :8]), strict=True):
        np.testing.assert_array_equal(image, expected)
    files = [base64.b64decode(text) for text in texts[:2]]
    np.testing.assert_array_equal(translator.predict({"image": files, "format": "tensor"}), inverted)
    backward = translator.predict({"image": texts[0], "function": "translate_backward"})
    np.testing.assert_array_equal(from_text(backward[0]), PICTURES[0])


def as_file(picture, **options):
    file = io.BytesIO()
    picture.save(file, **{"format": "PNG", **options})
    return base64.b64encode(file.getvalue()).decode()


def test_pictures_of_other_kinds_become_what_the_network_takes_where_nothing_is_lost(translator):
    def send(picture, **options):
        request = {"image": as_file(picture, **options), "function": "translate_backward"}
        return from_text(translator.predict(request)[0])

    grey, plain = Image.fromarray(PICTURES[0, ..., 0]), Image.fromarray(PICTURES[0])
    np.testing.assert_array_equal(send(grey), np.repeat(PICTURES[0, ..., :1], 3, axis=2))
    black = send(grey.point(lambda value: 255 * (value > 127)).convert("1"))
    np.testing.assert_array_equal(black, np.repeat((PICTURES[0, ..., :1] > 127) * 255, 3, axis=2))
    opaque = Image.fromarray(np.dstack([PICTURES[0], np.full((8, 12), 255, np.uint8)]))
    np.testing.assert_array_equal(send(opaque), PICTURES[0])
    table = plain.quantize(16)
    np.testing.assert_array_equal(send(table), np.asarray(table.convert("RGB")))
    turned = Image.Exif()
    turned[274] = 6  # the camera was held upright
    np.testing.assert_array_equal(send(plain, exif=turned), np.rot90(PICTURES[0], -1))


def rgb_of_16_bits(size):
    """Returns a PNG file that Pillow can read, but not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + b"\x12\x34" * 3 * size[0] for _ in range(size[1]))
    head = struct.pack(">2I5B", *size, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def profile_of(space):
    """Returns the head of a colour profile."""
    return bytes(16) + space + bytes(108)


def lossy_pictures():
    plain = Image.fromarray(PICTURES[0])
    grey, clear = plain.convert("L"), np.dstack([PICTURES[0], np.full((8, 12), 255, np.uint8)])
    clear[3, 3, 3] = 254
    return {
        r"with 8 bits a channel\. Received: 16 bits": rgb_of_16_bits((12, 8)),
        r"without transparent parts\. Received: some": as_file(Image.fromarray(clear)),
        r"without transparent parts\. Received: some$": as_file(grey, transparency=grey.getpixel((0, 0))),
        r"in grey or RGB\. Received: colours of the kind CMYK": as_file(plain.convert("CMYK"), format="JPEG"),
        r"as one picture\. Received: an animation or a series of 2$": as_file(
            plain, save_all=True, append_images=[plain.rotate(180)]
        ),
        r"as one picture\. Received: .* of 2": as_file(plain, format="MPO", save_all=True, append_images=[plain]),
        r"without a colour profile for other colours than the result's\. Received: one for GRAY": as_file(
            grey, icc_profile=profile_of(b"GRAY")
        ),
    }


@pytest.mark.parametrize("told", lossy_pictures())
def test_a_picture_that_would_lose_something_is_refused(translator, told):
    with pytest.raises(Exception, match=rf"^expected image {told}") as raised:
        translator.predict({"image": lossy_pictures()[told]})
    assert raised.value.get_http_status_code() == 400


def test_a_colour_profile_is_kept_in_files(translator):
    profile, plain = profile_of(b"RGB "), Image.fromarray(PICTURES[0])
    texts = [as_file(plain, icc_profile=profile), as_file(plain), as_file(plain, format="JPEG", icc_profile=profile)]
    made = translator.predict({"image": texts})
    profiles = [Image.open(io.BytesIO(base64.b64decode(text))).info.get("icc_profile") for text in made]
    assert profiles == [profile, None, profile]
    np.testing.assert_array_equal(from_text(made[0]), 255 - PICTURES[0])
    of_grey = as_file(plain.convert("L"), icc_profile=profile_of(b"GRAY"))  # refused with format=png
    for text in (texts[0], of_grey):
        assert translator.predict({"image": text, "format": "tensor"}).shape == (1, 8, 12, 3)


def test_a_network_for_grey_takes_no_colours(place):
    named = {"translate": (exported_models.invert, exported_models.any_size(channels=1))}
    model = load(served_models.functions(place / "grey", named))
    grey = np.repeat(PICTURES[0, ..., :1], 3, axis=2)
    np.testing.assert_array_equal(from_text(model.predict({"image": to_text(grey)})[0]), 255 - grey[..., :1])
    with pytest.raises(Exception, match=r"^expected image in grey\. Received: colours$"):
        model.predict({"image": PICTURE})


def test_a_long_text_beside_short_ones_takes_no_more_memory_than_itself(translator):
    """An array of texts would have a place as long as the longest for each."""
    texts = ["A" * 10**6, *["B"] * 99]
    tracemalloc.start()
    with pytest.raises(Exception, match=r"^expected image as a PNG or JPEG file in base64\. "):
        translator.predict({"image": texts})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 10**6


def test_a_size_is_refused_before_anything_is_decoded(translator):
    """The sum of all pictures, too. These files have heads for sizes that their pixels do not fill."""
    for sizes, told in {
        ((2560, 2560),): "6553600$",
        ((1024, 2048),) * 3: "6291456$",
        ((10_000, 10_000),): "",  # Pillow warns
        ((100_000, 100_000),): "far more$",
    }.items():
        with pytest.raises(Exception, match=rf"^expected image of at most 4194304 pixels .* Received: {told}"):
            translator.predict({"image": [as_file_of_size(*size) for size in sizes]})


def as_file_of_size(width, height):
    """Returns the head of a PNG file."""
    content = bytearray(base64.b64decode(as_file(Image.new("L", (8, 8)))))
    content[16:24] = struct.pack(">2I", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def test_a_mask_says_what_is_repaired(painter):
    mask = np.zeros((2, 8, 12, 1), np.uint8)
    mask[:, 2:4] = 255
    expected = np.where(mask == 255, 200, PICTURES)
    np.testing.assert_array_equal(painter.predict({"images": PICTURES, "masks": mask}), expected)
    request = {"image": [to_text(image) for image in PICTURES], "mask": [to_text(one) for one in mask]}
    np.testing.assert_array_equal([from_text(text) for text in painter.predict(request)], expected)
    nothing = {"images": PICTURES, "masks": 0 * mask}
    np.testing.assert_array_equal(painter.predict(nothing), PICTURES)
    one_bit = as_file(Image.fromarray(mask[0, ..., 0]).convert("1"))
    np.testing.assert_array_equal(from_text(painter.predict({"image": PICTURE, "mask": one_bit})[0]), expected[0])
    for told, wrong in {
        r"the inputs image, mask or images, masks, with \[format\]\. Received: image$": {"image": PICTURE},
        r"a mask of the size of its image\. Received: image 0 of 12x8, mask of 8x8": {
            "image": PICTURE,
            "mask": to_text(mask[0, :, :8]),
        },
        r"images of 12x8 pixels\. Received: image 0 of 8x8": {
            "image": to_text(PICTURES[0, :, :8]),
            "mask": to_text(mask[0, :, :8]),
        },
        r"masks as uint8 \[N, H, W, 1\]\. Received: uint8 \[8, 12, 3\] in a row": {
            "images": PICTURES,
            "masks": PICTURES,
        },
        r"masks as uint8 \[N, H, W, 1\]\. Received: bool": {"images": PICTURES, "masks": mask > 0},
        r"masks with 255 where .*, and 0 elsewhere\. Received: values up to 1$": {
            "images": PICTURES,
            "masks": mask // 255,
        },
        r"mask with 255 where .*, and 0 elsewhere\. Received: values up to 127$": {
            "image": PICTURE,
            "mask": to_text(mask[0] // 2),
        },
        r"mask without transparent parts\. Received: some$": {
            "image": PICTURE,
            "mask": to_text(np.concatenate([0 * PICTURES[0], mask[0]], axis=2)),
        },
        r"mask in grey\. Received: colours$": {"image": PICTURE, "mask": to_text(mask[0] & np.uint8([255, 0, 0]))},
    }.items():
        with pytest.raises(Exception, match=rf"^expected {told}"):
            painter.predict(wrong)


@pytest.mark.parametrize(
    ("told", "request_"),
    [
        (r"image or images, with \[format\], \[function\]\. Received: imgae", {"imgae": PICTURE}),
        (r"image or images, .* Received: image, images", {"image": PICTURE, "images": PICTURES[:1].tolist()}),
        (r"image as a PNG or JPEG file in base64\. Received: image='no', which cannot be decoded", {"image": "no"}),
        (r"image as a PNG or JPEG .* cannot be decoded", {"image": PICTURE[:80]}),
        (r"image as a PNG or JPEG .* cannot be decoded", {"image": to_text(PICTURES[0], form="BMP")}),
        (r"image as a PNG or JPEG .* Received: image=None", {"image": [None]}),
        (r"with 8 bits a channel\. Received: 16 bits$", {"image": to_text(PICTURES[0, ..., 0].astype("u2"))}),
        (r"images of at most 4194304 pixels .*: 6553600$", {"images": np.zeros((1, 2560, 2560, 3), np.uint8)}),
        (
            r"multiples of 4 and at least 8\. Received: image 1 of 10x8",
            {"image": [PICTURE, to_text(PICTURES[0, :, 2:])]},
        ),
        (r"multiples of 4 and at least 8\. Received: image 0 of 4x8", {"image": to_text(PICTURES[0, :, :4])}),
        (r"images as uint8 \[N, H, W, 3\]\. Received: int64 \[8, 12, 1\]", {"images": PICTURES[..., :1].tolist()}),
        (r"images as uint8 .* Received: int64 \[12, 3\]", {"images": PICTURES[0].tolist()}),
        (r"images as uint8 .* Received: float64", {"images": (PICTURES / 255).tolist()}),
        (r"images in 0\.\.255\. Received: values in -\d+\.\.", {"images": (PICTURES.astype(int) - 300).tolist()}),
        (r"at most 100 images in a request\. Received: 101", {"image": [PICTURE] * 101}),
        (r"one function for all rows, translate or translate_backward", {"image": PICTURE, "function": "restore"}),
        (r"at least one row", {"image": []}),
        (
            r"images of one size with format=tensor\. Received: 2 sizes",
            {"image": [PICTURE, to_text(PICTURES[0, :, :8])], "format": "tensor"},
        ),
    ],
)
def test_a_wrong_picture_is_refused_in_one_line(translator, told, request_):
    with pytest.raises(Exception, match=rf"^expected .*{told}") as raised:
        translator.predict(request_)
    assert "\n" not in str(raised.value)
    assert raised.value.get_http_status_code() == 400


def test_a_failure_is_one_line_without_a_traceback(place, capfd, monkeypatch):
    model = load(
        served_models.functions(
            place / "failing", {"translate": (exported_models.refuse, {"images": [None, None, None, 3]})}
        )
    )
    with pytest.raises(Exception, match=r"^the model refused it: .*expected fewer than 50 rows") as raised:
        model.predict({"images": np.zeros((1, 60, 8, 3), np.uint8)})
    assert raised.value.get_http_status_code() == 400
    python = model.unwrap_python_model()
    function = python._functions["translate"]
    faults = {
        KeyError(): (500, "the model failed: KeyError"),
        tf.errors.InvalidArgumentError(None, None, ""): (400, "the model refused it: no reason given"),
        tf.errors.InvalidArgumentError(None, None, "wrong\n"): (400, "the model refused it: wrong"),
        MemoryError(): (503, "too little memory; send fewer images"),
    }
    with server_of(model) as ask:
        for fault, expected in faults.items():
            python._functions["translate"] = Mock(side_effect=fault)
            status, answer = ask({"inputs": {"images": PICTURES.tolist()}})
            assert (status, answer["message"]) == expected
            assert "stack_trace" not in answer
    assert capfd.readouterr().err.count("Traceback") == 1  # of what is not expected, for whoever runs the server
    python._functions["translate"] = function
    for place_of_fault in ("stack", "asarray"):
        with monkeypatch.context() as patched:
            patched.setattr(np, place_of_fault, Mock(side_effect=MemoryError))
            with pytest.raises(Exception, match=r"^too little memory; send fewer images$") as raised:
                model.predict({"images": PICTURES})
        assert raised.value.get_http_status_code() == 503
    for owner, name, request in (
        (Image.Image, "save", {"images": PICTURES, "format": "png"}),
        (Image.Image, "convert", {"image": PICTURE}),
        (Image, "open", {"image": PICTURE}),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, Mock(side_effect=MemoryError))
            with pytest.raises(Exception, match=r"^too little memory; send fewer images$") as raised:
                model.predict(request)
        assert raised.value.get_http_status_code() == 503


def test_the_folder_is_the_model_wherever_it_lies(folder, signatures, tmp_path):
    """Moved, read-only, and in a process that cannot import this project."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = (
        "import sys, mlflow.pyfunc, numpy as np\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "np.save(sys.argv[2], model.predict({'seed': 5, 'count': 2, 'label': 'dog'}))\n"
        "sys.exit(any(name.startswith('ganlib') for name in sys.modules))\n"
    )
    command = [sys.executable, "-I", "-B", "-c", code, str(moved), str(tmp_path / "made.npy")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "made.npy"), generate(signatures, 5, 2, 1))
    assert (folder / "requirements.txt").read_text().splitlines()[0] == f"tensorflow=={tf.__version__}"
    assert not list(folder.rglob("*.pkl"))
    weights = [path for path in folder.rglob("*") if path.stat().st_size > 2**16]
    assert {path.parent.name for path in weights} <= {"saved_model", "variables"}
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o755)
