"""The page to play with a model: in Chromium where there is one, and its server in any case."""

import base64
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import exported_models as models
import numpy as np
import pytest
import tensorflow as tf
import uvicorn
from click.testing import CliRunner
from PIL import Image
from ports import free_ports

from ganlib import tracking
from ganlib.demo import DemoModel, app, build_app, pictures
from pipelines.command.main import main

CHROMIUM = Path("/usr/bin/chromium")
SIDE = 8


def from_latent_and_label(latent, label):
    """Makes an image whose rows have the values of the latent, and whose last row has the class."""
    rows = tf.repeat(latent[:, :, None, None], SIDE, axis=2) / 4
    told = [tf.constant("expected a class in 0..2"), label[0]]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(label < 3), told)]):
        level = tf.cast(label, tf.float32)[:, None, None, None] / 4
    return {"images": tf.concat([rows, tf.zeros_like(rows[:, :1]) + level], axis=1)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folders of a generator of three classes, a model that repairs holes, and one that translates."""
    root = tmp_path_factory.mktemp("exported")
    specs = {"latent": ([None, SIDE - 1], tf.float32), "label": ([None], tf.int64)}
    concrete = tf.function(from_latent_and_label).get_concrete_function(
        **{name: tf.TensorSpec(shape, kind, name=name) for name, (shape, kind) in specs.items()}
    )
    tf.saved_model.save(tf.Module(), str(root / "digits/saved_model"), signatures={"serving_default": concrete})
    (root / "digits/inputs.json").write_text(json.dumps({"classes": ["cat", "dog", "owl"]}))
    tf.saved_model.save(tf.Module(), str(root / "nameless/saved_model"), signatures={"serving_default": concrete})
    models.save(root / "restore", {"restore": (models.paint, models.with_masks())})
    free = models.any_size()
    functions = {"translate": (models.invert, free), "translate_backward": (models.refuse, free)}
    models.save(root / "translate", functions)
    return root


@contextmanager
def served(folder):
    """Serves the page of a model from a thread; yields its address and its model."""
    model = DemoModel.open(str(folder), title=folder.name)
    server = uvicorn.Server(uvicorn.Config(build_app(model), port=0, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", model
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def pages(exported):
    with (
        served(exported / "digits") as one,
        served(exported / "restore") as two,
        served(exported / "translate") as three,
        served(exported / "nameless") as four,
    ):
        yield {"digits": one[0], "restore": two[0], "translate": three[0], "nameless": four[0]}


def ask(address, data=None, **headers):
    """Returns the code and the content of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def error_of(address, data=None, **headers):
    code, content = ask(address, data, **headers)
    line = json.loads(content)["error"]
    assert "\n" not in line
    return code, line


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def framed(content):
    """The lines of an answer with files, and the files."""
    lines = []
    while not lines or "sizes" not in lines[-1]:
        line, _, content = content.partition(b"\n")
        lines.append(json.loads(line))
        if "error" in lines[-1]:
            return lines, []
    ends = np.cumsum([0, *lines[-1]["sizes"]])
    assert ends[-1] == len(content)
    return lines, [content[start:end] for start, end in itertools.pairwise(ends)]


def photo(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("words", [[], ["--label", "owl"], ["--truncation", "0.5"]], ids=" ".join)
def test_the_images_of_a_seed_are_those_of_generate(pages, exported, tmp_path, words):
    output = tmp_path / "out"
    done = CliRunner().invoke(
        main,
        ["generate", str(exported / "digits"), "-o", str(output), "--seed", "7", "--count", "11", "--sheet", *words],
    )
    assert done.exit_code == 0, done.output
    query = "&".join(["seed=7&count=11", *(f"{words[0][2:]}={words[1]}" for _ in words[:1])])
    code, content = ask(f"{pages['digits']}/api/images.zip?{query}")
    assert code == 200
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        packed_files = {name: packed.read(name) for name in packed.namelist()}
    assert packed_files == {path.name: path.read_bytes() for path in output.glob("[0-9]*.png")}
    shown = json.loads(ask(f"{pages['digits']}/api/images?{query}")[1])["images"]
    files = [base64.b64decode(address.partition(",")[2]) for address in shown]
    assert files == [packed_files[name] for name in sorted(packed_files)]
    sheet = ask(f"{pages['digits']}/api/images.png?{query}")[1]
    np.testing.assert_array_equal(pixels(sheet), pixels((output / "sheet.png").read_bytes()))


def test_a_walk_leads_from_the_first_image_of_a_seed_to_that_of_another(pages):
    def images(path):
        addresses = json.loads(ask(f"{pages['digits']}/api/{path}")[1])["images"]
        return [pixels(base64.b64decode(address.partition(",")[2])) for address in addresses]

    frames = images("walk?seed=3&to=4&label=dog&frames=5")
    assert len(frames) == 5
    for seed, frame in ((3, frames[0]), (4, frames[-1])):
        np.testing.assert_array_equal(images(f"images?seed={seed}&count=1&label=dog")[0], frame)
    wide = images("walk?seed=3&to=4&frames=5")[2]  # each class at once
    assert wide.shape == (SIDE, 3 * SIDE + 4)
    np.testing.assert_array_equal(wide[:, SIDE + 2 : 2 * SIDE + 2], frames[2])
    for kind in ("gif", "webp"):
        with Image.open(io.BytesIO(ask(f"{pages['digits']}/api/walk.{kind}?label=dog&frames=5")[1])) as animation:
            assert (animation.format.lower(), animation.n_frames) == (kind, 8)  # there and back


def test_a_picture_is_repaired_where_the_mask_is_white_and_nowhere_else(pages):
    picture, mask = photo(), np.zeros((20, 30), np.uint8)
    mask[5:9, 3:20] = 255
    data = png(picture)
    code, content = ask(f"{pages['restore']}/api/make?function=restore&picture={len(data)}", data + png(mask))
    lines, [made] = framed(content)
    assert (code, lines) == (200, [{"share": 0.0}, {"share": 1.0}, {"notes": [], "sizes": [len(made)]}])
    np.testing.assert_array_equal(pixels(made), np.where(mask[..., None] == 255, 200, picture))


def test_a_picture_is_read_as_apply_reads_it(pages):
    upright = photo()
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(upright).rotate(90, expand=True).save(turned, "PNG", exif=exif)
    _, content = ask(f"{pages['translate']}/api/show?function=translate", turned.getvalue())
    [line], [shown] = framed(content)
    np.testing.assert_array_equal(pixels(shown), upright)
    assert line["notes"] == []
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:4] = 0
    transparent = png(np.dstack([upright, alpha]))
    [line], [shown] = framed(ask(f"{pages['translate']}/api/show?function=translate", transparent)[1])
    assert line["notes"] == ["transparent: put on a white background"]
    [line], [shown, mask] = framed(ask(f"{pages['restore']}/api/show?function=restore", transparent)[1])
    assert line["notes"] == []
    np.testing.assert_array_equal(pixels(mask), 255 - alpha)


def test_each_mistake_is_one_line_and_the_server_goes_on(pages, monkeypatch):
    names = ("digits", "nameless", "translate", "restore")
    digits, nameless, translate, restore = (f"{pages[name]}/api" for name in names)
    cases = {
        f"{digits}/images?seed=-1": "seed: input should be greater than or equal to 0. Received: seed=-1",
        f"{digits}/images?count=101": "count: input should be less than or equal to 100. Received: count=101",
        f"{digits}/images?sede=1": "sede: extra inputs are not permitted. Received: sede=1",
        f"{digits}/images?seed={2**63}": f"seed: input should be less than {2**63}. Received: seed={2**63}",
        f"{digits}/images?seed=one": "seed: input should be a valid integer, unable to parse string as an integer. "
        "Received: seed=one",
        f"{digits}/images?count=1.5": "count: input should be a valid integer, unable to parse string as an integer. "
        "Received: count=1.5",
        f"{digits}/images?truncation=0": "truncation: input should be greater than 0. Received: truncation=0",
        f"{digits}/walk?truncation=nan": "truncation: input should be a finite number. Received: truncation=nan",
        f"{digits}/walk?frames=121": "frames: input should be less than or equal to 120. Received: frames=121",
        f"{digits}/walk.png?frames=2": "kind: input should be 'gif' or 'webp'. Received: kind=png",
        f"{nameless}/images?label={2**63}": f"expected the name or the index of a class. Received: label={2**63}",
        f"{nameless}/walk?label=7": "the exported model refused it: assertion failed: [expected a class in 0..2] [7]",
        f"{digits}/walk?label=cow": "expected the name or the index of a class (0 = cat, 1 = dog, 2 = owl). "
        "Received: label=cow",
        f"{translate}/images": "expected a model that generates. Received: model=translate",
    }
    for address, line in cases.items():
        assert error_of(address) == (400, line)
    show = f"{translate}/show?function="
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a.png", png(photo()))
    assert error_of(f"{show}translate", packed.getvalue()) == (400, "unreadable: not an image")
    assert error_of(f"{show}translate", png(photo())[:200])[0] == 400
    assert error_of(f"{show}restore", b"x") == (
        400,
        "expected one of translate, translate_backward. Received: function=restore",
    )
    monkeypatch.setattr(pictures, "MOST_PIXELS", 599)
    code, line = error_of(f"{show}translate", png(photo()))
    assert code == 400
    assert line.startswith("too many pixels: expected at most 599, and it has 30x20; `gan-pipelines apply`")
    monkeypatch.undo()
    monkeypatch.setattr(app, "MOST_BYTES", 1000)
    assert error_of(f"{show}translate", png(photo()))[1].startswith("expected a file of at most")
    monkeypatch.undo()
    tall, small = png(photo(60, 8)), png(photo())
    make = f"make?function=restore&picture={len(small)}"
    mask = png(np.full((8, 8), 255, np.uint8))
    made = {
        (f"{restore}/{make}", small): "the function restore takes a mask",
        (f"{restore}/{make}", small + mask): "expected the size of the picture, 30x20, and it has 8x8",
        (f"{translate}/make?function=translate&picture={len(small)}", small + mask): "translate takes no mask",
        (f"{translate}/make?function=translate&picture={len(tall)}", tall[:200]): "unreadable: ",
        (f"{translate}/make?function=translate&picture=all", small): "unable to parse string as an integer. Received: "
        "picture=all",
        (f"{translate}/make?function=translate&picture=-1", small): "greater than or equal to 0. Received: picture=-1",
    }
    for (address, data), line in made.items():
        code, told = error_of(address, data)
        assert (code, line in told) == (400, True), told
    # Only what the network itself refuses is told later: the answer has begun.
    code, content = ask(f"{translate}/make?function=translate_backward&picture={len(tall)}", tall)
    [*_, line], _ = framed(content)
    assert code == 200
    assert line["error"].startswith("the exported model refused it: assertion failed: [expected fewer than 50 rows]")
    assert ask(f"{digits}/model")[0] == 200


def test_only_the_page_itself_may_call_a_local_server(pages):
    address = pages["digits"]
    port = address.rpartition(":")[2]
    for host in (f"localhost:{port}", f"[::1]:{port}", "127.0.0.1", f"127.0.0.1:{port}"):
        assert ask(f"{address}/api/model", Host=host)[0] == 200, host
    far = (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "evil.localhost",
        "192.0.2.1",
        "127.0.0.1:x",
    )
    for host in (*far, "evil{x.example:80", "[", 'evil".example', "evil.example:99999"):  # no parser may fall back
        assert error_of(f"{address}/api/model", Host=host) == (403, f"refused: {host}")
    assert error_of(f"{address}/api/model", Host="") == (403, "refused: no host")
    for origin in (
        "http://evil.example",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        f"{address}.evil.example",
        "null",
        "",
    ):
        assert error_of(f"{address}/api/model", Origin=origin) == (403, f"refused: {origin}")
        assert error_of(f"{pages['translate']}/api/make?function=translate&picture=1", b"x", Origin=origin)[0] == 403
    for site in ("cross-site", "same-site"):
        assert error_of(f"{address}/api/walk?frames=2&seed=1&to=2", **{"Sec-Fetch-Site": site})[0] == 403
    assert ask(address, **{"Sec-Fetch-Site": "cross-site"})[0] == 200  # a link to the page
    assert ask(f"{address}/page.js?content=alert(1)")[1] == ask(f"{address}/page.js")[1]
    assert ask(f"{address}/api/model", Origin=address)[0] == 200
    for path in ("/../app.py", "/%2e%2e/app.py", "/page.html", "/docs", "/openapi.json"):
        assert ask(address + path)[0] == 404
    with urllib.request.urlopen(address, timeout=60) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert not re.search(r"https?:|\*|unsafe", policy)


def test_two_people_at_once_get_their_own_pictures(pages):
    results, many = {}, range(12)

    def person(seed):
        data = png(photo(70, 90, seed=seed))
        _, content = ask(f"{pages['translate']}/api/make?function=translate&picture={len(data)}", data)
        results[seed] = pixels(framed(content)[1][0])

    threads = [threading.Thread(target=person, args=[seed]) for seed in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in many:
        np.testing.assert_array_equal(results[seed], 255 - photo(70, 90, seed=seed))


def test_nothing_is_made_for_somebody_who_has_left(exported, monkeypatch):
    made = []
    monkeypatch.setattr(pictures.tiling, "run", lambda *_values, **_options: made.append(True))
    with served(exported / "translate") as (address, model):
        data = png(photo())
        request = f"{address}/api/make?function=translate&picture={len(data)}"
        with model.alone():  # the network is busy
            with pytest.raises(TimeoutError):
                urllib.request.urlopen(request, data, timeout=0.3).read()
            time.sleep(1.5)
        time.sleep(0.7)
        assert not made
        assert ask(f"{address}/api/model")[0] == 200


def test_only_the_last_of_many_questions_is_answered(exported, monkeypatch):
    """A slider that moves asks again and again, and leaves before the answer."""
    made = []
    monkeypatch.setattr(app.generation, "seed_images", lambda _function, choice: made.append(choice.seed) or [])
    with served(exported / "digits") as (address, model):
        with model.alone():
            for seed in (1, 2):
                with pytest.raises(TimeoutError):
                    urllib.request.urlopen(f"{address}/api/images?seed={seed}", timeout=0.1)
            time.sleep(1.5)
        assert ask(f"{address}/api/images?seed=3")[0] == 200
        time.sleep(0.7)
    assert made == [3]


def registered(folder, store):
    """Registers an exported folder as version 1 with the alias champion."""
    import mlflow

    tracking.create_store(store, experiment="demo")
    client = mlflow.MlflowClient(tracking.store_uri(store))
    client.create_registered_model("digits")
    client.create_model_version("digits", folder.as_uri())
    client.set_registered_model_alias("digits", "champion", "1")
    return client.tracking_uri


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_a_version_of_the_registry_until_it_is_stopped(exported, tmp_path, monkeypatch, number):
    """In this process, since another one would take ten seconds to import TensorFlow and MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered(exported / "digits", tmp_path / "mlflow.db"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    [port] = free_ports(1)
    answers = []

    def person():
        try:
            while not answers:
                with suppress(OSError):
                    answers.append(ask(f"http://127.0.0.1:{port}/api/model"))
            answers.append(len(list(scratch.iterdir())))
        finally:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=person)
    thread.start()
    done = CliRunner().invoke(main, ["demo", "models:/digits@champion", "--port", str(port)])
    thread.join()
    title = "digits, version 1 (champion)"
    assert done.exit_code == 0, done.output
    assert done.output == f"demo: {title} at http://127.0.0.1:{port} (Ctrl-C ends it)\ndemo: ended\n"
    [(code, content), downloaded] = answers
    assert (code, json.loads(content)["title"], downloaded) == (200, title, 1)
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (
            ["models:/digits"],
            2,
            "expected models:/NAME@ALIAS or models:/NAME/VERSION. Received: model='models:/digits'",
        ),
        (
            ["models:/digits@champion"],
            2,
            "expected --uri or the environment variable MLFLOW_TRACKING_URI, or runs/mlflow",
        ),
        (["none"], 2, "no such file or folder. Received: path='"),
        (["model", "--host", "192.0.2.1"], 2, "expected a free address of this machine ("),
    ],
    ids=str,
)
def test_each_mistake_of_the_command_is_one_line(exported, tmp_path, monkeypatch, words, code, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(exported / "digits")
    done = CliRunner().invoke(main, ["demo", *words])
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {line}")
    assert len(done.stderr.splitlines()) == 1


def test_without_its_libraries_the_command_says_what_to_install():
    code = "import sys; sys.modules['fastapi'] = None; from gan_pipelines import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "demo", "model"], capture_output=True, text=True)
    expected = "error: fastapi is not installed; install the extra [train]: pip install -r requirements/train.txt\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_an_alias_that_does_not_exist_is_one_line(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered(exported / "digits", tmp_path / "mlflow.db"))
    done = CliRunner().invoke(main, ["demo", "models:/digits@best"])
    assert done.exit_code == 2
    assert done.stderr == "error: expected an alias of digits (champion). Received: model='models:/digits@best'\n"
    done = CliRunner().invoke(main, ["demo", "models:/digits/7"])
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM.exists():
        pytest.skip(f"needs Chromium at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """A page of the browser; no request may leave the server, and nothing may go wrong in the console."""
    page = chromium.new_page()
    page.set_default_timeout(20_000)
    requests, wrong = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "security" in message.text.lower() else None)
    yield page
    server = page.url.rstrip("/")
    page.close()
    assert len(requests) > 5
    assert [url for url in requests if not url.startswith((server, "data:", f"blob:{server}"))] == []
    assert wrong == []


def shown(page, selector):
    """The pixels of the images of a page."""
    addresses = page.eval_on_selector_all(selector, "images => images.map((image) => image.src)")
    return [pixels(base64.b64decode(address.partition(",")[2])) for address in addresses]


def test_in_chromium_seeds_classes_and_a_walk(pages, exported, page, tmp_path):
    from playwright.sync_api import expect

    page.goto(pages["digits"])
    page.wait_for_selector("#images:not(.busy) img")
    assert page.inner_text("#title") == "digits"
    page.fill("#images-choice [name=count]", "4")
    page.fill("#images-choice [name=seed]", "12345678901234567")  # more digits than JavaScript's numbers have
    page.select_option("[name=label]", "owl")
    expect(page.locator("#images:not(.busy) img")).to_have_count(4)
    words = f"generate {exported / 'digits'} -o {tmp_path / 'out'} --count 4 --label owl --seed 12345678901234567"
    done = CliRunner().invoke(main, words.split())
    assert done.exit_code == 0, done.output
    expected = [pixels(path.read_bytes()) for path in sorted((tmp_path / "out").iterdir())]
    np.testing.assert_array_equal(shown(page, "#images img"), expected)
    with page.expect_download() as download:
        page.click("#zip")
    assert download.value.suggested_filename == "seed-12345678901234567.zip"
    with zipfile.ZipFile(download.value.path()) as packed:
        assert packed.namelist() == ["0.png", "1.png", "2.png", "3.png"]
    page.fill("#walk-choice [name=frames]", "6")
    expect(page.locator("#step")).to_have_attribute("max", "5")
    [first] = shown(page, "#frame")
    page.press("#step", "End")
    assert page.inner_text("#position") == "6 / 6"
    [last] = shown(page, "#frame")
    assert (first != last).any()
    page.fill("#images-choice [name=count]", "1000")
    page.wait_for_selector("#message:not([hidden])")
    assert page.inner_text("#message").startswith("Images: ")
    page.fill("#walk-choice [name=frames]", "7")
    expect(page.locator("#step")).to_have_attribute("max", "6")
    assert page.inner_text("#message").startswith("Images: ")  # it is not the walk's
    page.fill("#walk-choice [name=frames]", "1")
    expect(page.locator("#message")).to_contain_text("Frames: ")
    assert [line.partition(":")[0] for line in page.inner_text("#message").splitlines()] == ["Images", "Frames"]
    page.fill("#walk-choice [name=frames]", "6")
    expect(page.locator("#message")).not_to_contain_text("Frames: ")
    before = page.input_value("#images-choice [name=seed]")
    page.fill("#images-choice [name=count]", "3")
    page.click("#images-choice [data-random=seed]")
    expect(page.locator("#images:not(.busy) img")).to_have_count(3)
    assert page.input_value("#images-choice [name=seed]") != before
    assert page.is_hidden("#message")


def test_in_chromium_a_model_that_does_not_name_its_classes_is_asked_by_index(pages, page):
    from playwright.sync_api import expect

    page.goto(pages["nameless"])
    expect(page.locator("#images:not(.busy) img")).to_have_count(20)
    page.fill("[name=label]", "2")
    expect(page.locator("#images:not(.busy) img").first).to_have_attribute("alt", "image 0, class 2")
    level = shown(page, "#images img")[0][-1]
    assert (np.abs(level - 127.5 * 1.5) <= 1).all()  # the last row is 2 / 4 of -1..1


def test_in_chromium_a_mask_is_painted_and_repaired(pages, page, tmp_path):
    picture = photo(40, 60)
    file = tmp_path / "holiday.png"
    file.write_bytes(png(picture))
    page.goto(pages["restore"])
    page.set_input_files("#file:enabled", file)
    page.wait_for_selector("#mask")
    page.click("#make")
    page.wait_for_selector("#message:not([hidden])")
    assert page.inner_text("#message") == "Paint what is to be repaired first."

    def at(x, y):
        box = page.locator("#mask").bounding_box()  # the page scrolls
        return box["x"] + x * box["width"] / 60, box["y"] + y * box["height"] / 40

    def stroke(*places):
        (x, y), *others = [at(*place) for place in places]
        page.mouse.move(x, y)
        page.mouse.down()
        for x, y in others:
            page.mouse.move(x, y, steps=5)
        page.mouse.up()

    def repaired():
        before = page.get_attribute("#result", "href")
        page.click("#make")
        page.wait_for_function(
            "(before) => document.getElementById('result').getAttribute('href') !== before", arg=before
        )
        page.wait_for_selector("#make:enabled")
        with page.expect_download() as download:
            page.click("#result")
        assert download.value.suggested_filename == "holiday-restore.png"
        made = pixels(download.value.path().read_bytes())
        changed = (made != picture).any(axis=2)
        assert (made[changed] == 200).all()
        return changed

    page.fill("#size", "6")
    stroke((10, 10), (40, 10))
    stroke((10, 30), (40, 30))
    both = repaired()
    assert both[10, 10:40].all()
    assert both[30, 10:40].all()
    assert not both[16:24].any()
    page.click("#undo")
    page.click("#erase")
    stroke((25, 0), (25, 39))
    cut = repaired()
    assert not cut[30].any()
    assert cut[10, 12:20].all()
    assert not cut[10, 24:26].any()
    page.click("#clear")
    page.click("#paint")
    page.fill("#size", "4")
    stroke((-3, 8), (20, 8))  # begins beside the picture
    stroke((50, 20), (70, 20), (70, 30), (50, 30))  # leaves it and comes back
    for control in ("#size", "#undo"):  # what begins on a control is no stroke
        box = page.locator(control).bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.mouse.down()
        page.mouse.move(*at(30, 36), steps=5)
        page.mouse.up()
    across = repaired()
    assert across[8, :20].all()
    assert across[[20, 30], 50:].all()
    assert across[:, 24:46].sum() == across[23:27].sum() == 0
    page.click("#undo")
    assert not repaired()[20:31, 50:].any()  # it was one stroke
    page.click("#clear")
    page.focus("#mask")
    for key in ("ArrowDown", " "):
        page.keyboard.press(key)
    assert repaired()[23, 30]


def test_in_chromium_a_picture_that_cannot_be_read_is_said_and_the_next_is_translated(pages, page, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    alpha = np.full((60, 8), 255, np.uint8)
    alpha[0] = 0
    (tmp_path / "tall.png").write_bytes(png(np.dstack([photo(60, 8), alpha])))
    page.goto(pages["translate"])
    page.set_input_files("#file:enabled", tmp_path / "broken.jpg")
    page.wait_for_selector("#message:not([hidden])")
    assert page.inner_text("#message") == "unreadable: not an image"
    page.set_input_files("#file", tmp_path / "tall.png")
    page.wait_for_selector("#before-section")
    page.wait_for_selector("#message", state="hidden")
    page.click("#make")
    page.wait_for_selector("#after-section")
    with page.expect_download() as download:
        page.click("#result")
    np.testing.assert_array_equal(pixels(download.value.path().read_bytes())[1:], 255 - photo(60, 8)[1:])
    assert page.inner_text("#notes") == "transparent: put on a white background"  # what was lost is still said
    page.select_option("#function", "translate_backward")  # refuses more than 50 rows
    page.wait_for_selector("#before-section")
    page.click("#make")
    page.wait_for_selector("#message:not([hidden])")
    assert page.inner_text("#message").startswith("the exported model refused it: ")
    assert page.is_enabled("#make")
    assert page.is_hidden("#progress")
