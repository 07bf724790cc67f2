"""What S3 has of its own: servers without conditions, parts, ETags, credentials, certificates.

What all kinds of storage have in common is tested in test_buckets, test_mirror and test_bucket_sources.
"""

import os
import random
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import bucket_proxy
import pytest
import s3_buckets

from ganlib import remote, storage
from ganlib.remote import connection, s3, s3_conditions, s3_upload

LARGE = os.urandom(20_000_000)  # three parts


@pytest.fixture
def scheme():
    return "s3"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(s3, "TIDIED", set())


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(LARGE)
    (tmp_path / "model" / "card").write_text("small")
    return tmp_path / "model"


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_in_parts(objects, name, data):
    """Uploads as most other programs do with large files, so that the ETag is no MD5."""
    place = {"Bucket": objects.name, "Key": name}
    upload = place | {"UploadId": objects.client.create_multipart_upload(**place)["UploadId"]}
    etag = objects.client.upload_part(**upload, PartNumber=1, Body=data)["ETag"]
    objects.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]})


# Conditions.


@pytest.fixture
def untested(traffic, monkeypatch):
    """As in a new process, whether the server honours conditions is not known yet."""
    monkeypatch.setattr(s3_conditions, "HONOURING", set())


@pytest.mark.parametrize("ignored", ["If-None-Match", "If-Match"])
@pytest.mark.parametrize("name", ["card", "weights"], ids=["at once", "in parts"])
def test_a_server_that_ignores_a_condition_is_refused_before_anything_is_written(
    model, bucket, objects, traffic, untested, ignored, name
):
    traffic.ignored = (ignored,)
    (model / {"card": "weights", "weights": "card"}[name]).unlink()
    for write in (storage.Mirror(f"{bucket}/run", model).push, lambda: storage.publish(model / name, f"{bucket}/one")):
        with pytest.raises(
            ValueError, match=r"the server does not know conditional writes .*Received: path='s3://buck"
        ):
            write()
    assert [blob.name for blob in objects.list_blobs()] == objects.unfinished() == []


def test_a_server_that_ignores_the_condition_of_parts_only_is_refused(model, bucket, objects, traffic, untested):
    storage.publish(model / "card", f"{bucket}/card")
    traffic.ignored = ("If-None-Match",)
    with pytest.raises(ValueError, match="the server does not know conditional writes"):
        storage.publish(model / "weights", f"{bucket}/weights")
    assert [blob.name for blob in objects.list_blobs()] == ["card"]


def test_a_server_that_refuses_conditions_is_refused(model, bucket, traffic):
    traffic.fail("status", action="upload", status=501, times=9)
    with pytest.raises(ValueError, match="the server does not know conditional writes"):
        storage.publish(model, f"{bucket}/model")


def test_whether_a_server_honours_conditions_is_tested_once(model, bucket, objects, traffic, untested):
    (model / "weights").unlink()
    (model.parent / "weights").write_bytes(bytes(9_000_000))
    (model / "more").write_text("sent at the same time")
    storage.Mirror(f"{bucket}/one", model).push()
    assert (traffic.refused, traffic.count("upload"), traffic.count("delete")) == (4, 4 + 3, 2)  # both, in a mirror
    storage.publish(model, f"{bucket}/two")
    assert (traffic.refused, traffic.count("upload"), traffic.count("delete")) == (4, 7 + 4, 2)
    for name in ("three", "four"):
        storage.publish(model.parent / "weights", f"{bucket}/{name}")
        assert (traffic.refused, traffic.count("delete")) == (4, 2)
    assert not [blob.name for blob in objects.list_blobs() if ".conditions" in blob.name]
    assert objects.unfinished() == []


def test_a_mirror_is_refused_at_once_where_large_files_could_not_be_sent(model, bucket, objects, traffic, untested):
    """Not hours later, when the first large checkpoint is written."""
    storage.publish(model / "card", f"{bucket}/card")  # so the conditions of small files are known to hold
    (model / "weights").unlink()
    traffic.ignored = ("If-None-Match",)
    with pytest.raises(ValueError, match="the server does not know conditional writes"):
        storage.Mirror(f"{bucket}/run", model).push()
    assert [blob.name for blob in objects.list_blobs()] == ["card"]


def test_who_may_not_remove_is_told_and_can_publish(model, bucket, traffic, untested, capsys):
    traffic.fail("status", action="delete", status=403, times=9)
    storage.publish(model / "card", f"{bucket}/card")
    assert re.search(r"the test object '\.conditions-\w+' was not removed: the server ans", capsys.readouterr().out)
    assert storage.fetch(f"{bucket}/card").read_text() == "small"


# Parts.


def test_the_parts_of_a_failed_upload_are_removed(model, bucket, objects, traffic):
    traffic.fail("status", action="part", status=403, times=9)
    with pytest.raises(ValueError, match=r"access is denied \(403\)"):
        storage.publish(model, f"{bucket}/model")
    assert traffic.count("abort") == 1
    assert objects.unfinished() == []


@pytest.mark.parametrize("there", [b"", b"old"], ids=["absent", "present"])
def test_of_two_that_write_a_large_object_the_second_fails_and_leaves_nothing(model, bucket, objects, traffic, there):
    if there:
        objects.blob("weights").upload_from_string(there)
    waiting = traffic.fail("wait", action="complete", seconds=30)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(storage.publish, model / "weights", f"{bucket}/weights")
        while not waiting.met:
            time.sleep(0.01)
        objects.blob("weights").upload_from_string(b"of another")
        waiting.go_on.set()
        with pytest.raises(storage.WriteConflict, match="another process has written there meanwhile"):
            slow.result()
    assert objects.blob("weights").download_as_bytes() == b"of another"
    assert objects.unfinished() == []


@pytest.mark.parametrize(
    ("kind", "action"),
    [("lose", "begin"), ("lose", "part"), ("lose", "complete"), ("spoil_request", "part"), ("status", "complete")],
)
def test_a_large_object_survives_a_fault(model, bucket, objects, traffic, kind, action):
    traffic.fail(kind, action=action)
    storage.publish(model / "weights", f"{bucket}/weights")
    assert traffic.faults[0].met == 1
    assert storage.fetch(f"{bucket}/weights").read_bytes() == LARGE


def test_parts_that_a_killed_process_left_are_removed_a_day_later(model, bucket, objects, monkeypatch):
    content = "0123456789abcdef" * 4
    for name in ("model/weights", "model/weights.of-others", "run/objects/others", f"run/objects/{content}"):
        objects.client.create_multipart_upload(Bucket="bucket", Key=name)
    begun = objects.unfinished()
    monkeypatch.setattr(s3_upload, "ABANDONED", 50 * 365 * 24 * 3600.0)  # the server says that all began in 2010
    storage.publish(model, f"{bucket}/model")
    assert objects.unfinished() == begun
    monkeypatch.setattr(s3_upload, "ABANDONED", 24 * 3600.0)
    monkeypatch.setattr(s3, "TIDIED", set())
    (model / "weights").write_bytes(LARGE[::-1])
    storage.publish(model, f"{bucket}/model")
    storage.Mirror(f"{bucket}/run", model).push()
    assert objects.unfinished() == ["model/weights.of-others", "run/objects/others"]


def test_who_may_not_list_interrupted_uploads_is_told_and_can_publish(model, bucket, traffic, capsys):
    traffic.fail("status", action="list uploads", status=403, times=9)
    storage.publish(model, f"{bucket}/model")
    assert "interrupted uploads of 'model/weights' were not looked for: " in capsys.readouterr().out
    assert read(storage.fetch(f"{bucket}/model")) == read(model)


def test_a_file_of_many_parts_has_fewer_larger_ones(monkeypatch):
    monkeypatch.setattr(s3_upload, "MOST_PARTS", 3)
    upload = s3_upload.Upload(None, None, "bucket", threading.Event(), "x", 4 * s3_upload.PART, "", {})
    assert upload.part_size == -(-4 * s3_upload.PART // 3)


# Checksums.


def test_a_listing_asks_for_no_object_by_itself(bucket, objects, traffic):
    for index in range(20):
        objects.blob(f"images/{index}").upload_from_string(b"x")
    folder = remote.list_folder(f"{bucket}/images")
    assert len(folder.files) == 20
    assert traffic.asked == ["list images/"]


def test_an_object_without_a_checksum_is_fetched_again_if_and_only_if_it_changed(bucket, objects, traffic):
    for location in (f"{bucket}/data/one", f"{bucket}/data"):
        put_in_parts(objects, "data/one", b"first")
        path = storage.fetch(location)
        traffic.asked.clear()
        assert storage.fetch(location) == path
        assert traffic.count("download") == 0
        put_in_parts(objects, "data/one", b"other")  # in the same second, with the same size
        data = storage.fetch(location)
        assert (data if data.is_file() else data / "one").read_bytes() == b"other"


def test_what_is_left_of_a_download_and_has_the_full_size_is_not_taken_unchecked(bucket, objects, tmp_path):
    """After a crash of the machine, a file may be as long as it was, and be zeros."""
    objects.blob("data/at-once").upload_from_string(b"first")
    objects.blob("data/empty").upload_from_string(b"")
    put_in_parts(objects, "data/in-parts", b"first")
    folder = remote.list_folder(f"{bucket}/data")
    for item in folder.files.values():
        (tmp_path / "left").write_bytes(b"\0" * item.size)
        remote.folder.download_object(folder.bucket, item, tmp_path / "left")
        assert (tmp_path / "left").read_bytes() == objects.blob(item.name).download_as_bytes()


def test_damage_of_an_object_without_a_checksum_is_not_noticed(bucket, objects, traffic):
    """The documentation says so; over https, TLS notices it."""
    put_in_parts(objects, "one", b"first")
    traffic.fail("spoil", action="download")
    assert storage.fetch(f"{bucket}/one").read_bytes() != b"first"


@pytest.mark.parametrize(
    ("answer", "md5"),
    [
        ({}, "0" * 32),
        ({"ServerSideEncryption": "AES256"}, "0" * 32),
        ({"ServerSideEncryption": "aws:kms"}, None),
        ({"SSECustomerAlgorithm": "AES256"}, None),
        ({"ETag": f'"{"0" * 32}-1"'}, None),
        ({"Metadata": {s3.CRC32C: "AAAAAA=="}}, None),
    ],
)
def test_an_etag_is_taken_as_md5_only_where_it_is_one(answer, md5):
    told = s3._checksum({"ETag": f'"{"0" * 32}"', "Metadata": {}} | answer)
    assert told == {"md5": md5, "crc32c": answer.get("Metadata", {}).get(s3.CRC32C)}


def test_a_published_folder_can_be_copied_by_other_programs(model, bucket, objects, traffic):
    storage.publish(model, f"{bucket}/model")
    for name in (".published.json", "weights", "card"):
        objects.client.copy_object(Bucket="bucket", Key=f"copy/{name}", CopySource=f"bucket/model/{name}")
    before, after = (
        objects.client.head_object(Bucket="bucket", Key=f"{at}/weights")["ETag"] for at in ("model", "copy")
    )
    assert before != after
    traffic.asked.clear()
    assert read(storage.fetch(f"{bucket}/copy")) == read(model)
    assert traffic.of("find", "copy/") == ["copy/weights"]


def test_a_repeated_request_leaves_pythons_random_numbers_alone(bucket, objects, traffic):
    """Keras draws the seeds of weights from them."""
    objects.blob("one").upload_from_string(b"1")
    traffic.fail("status", times=3)
    before = random.getstate()
    storage.fetch(f"{bucket}/one")
    assert random.getstate() == before


# Access.


def refused(location, message, kind=ValueError):
    with pytest.raises(kind) as caught:
        storage.fetch(location)
    text = str(caught.value)
    assert message in text
    assert text.endswith((f"Received: path={location!r}", "Received: endpoint='minio:9000'"))
    assert "\n" not in text
    assert "very-secret" not in text


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials: expected AWS_ACCESS_KEY_ID and "),
        ({"AWS_SECRET_ACCESS_KEY": None}, "no credentials: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_PROFILE": "gone"}, "the settings of AWS are not valid: The config profile (gone) could not be found"),
        ({"AWS_REGION": "no region!"}, "the settings of AWS are not valid: "),
        (
            {"AWS_ENDPOINT_URL_S3": "me:very-secret@minio:9000"},
            "expected an address such as https://minio:9000 in AWS_ENDPOINT_URL_S3",
        ),
    ],
)
def test_settings_that_are_not_valid_are_reported_in_one_line(bucket, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    refused(f"{bucket}/data", message)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "AccessDenied", "access is denied (403). "),
        (403, "InvalidAccessKeyId", "access is denied (403 InvalidAccessKeyId). "),
        (400, "ExpiredToken", "access is denied (400 ExpiredToken). "),
        (
            301,
            "Moved",
            "the server redirects every request: expected the address of its S3 API in AWS_ENDPOINT_URL_S3, ",
        ),
        (400, "IllegalLocationConstraintException", "the bucket is in another region: expected its region in AWS_REG"),
        (404, "NoSuchBucket", "no such bucket or object. "),
    ],
)
def test_an_answer_that_the_user_must_know_is_one_line(bucket, traffic, status, code, message):
    body = f"<Error><Code>{code}</Code><Message>The server says so.</Message></Error>".encode()
    traffic.fail("status", action="list", status=status, body=body, times=999)
    with pytest.raises(ValueError, match="Received") as caught:
        storage.list_folder(f"{bucket}/data")
    text = str(caught.value)
    assert text.startswith(message)
    assert text.endswith(". Received: path='s3://bucket/data'")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "ExpiredToken", "access is denied (400 ExpiredToken). "),
        (403, "SignatureDoesNotMatch", "access is denied (403 SignatureDoesNotMatch). "),
        (400, "AuthorizationHeaderMalformed", "the bucket is in another region: expected its region in AWS_REGION. "),
        (301, "PermanentRedirect", "the bucket is in another region: expected its region in AWS_REGION. "),
    ],
)
def test_what_an_answer_without_a_body_leaves_open_is_asked_again(model, bucket, traffic, status, code, message):
    body = f"<Error><Code>{code}</Code><Message>The server says so.</Message></Error>".encode()
    traffic.fail("status", action="find", status=status, times=999)
    traffic.fail("status", action="download", status=status, body=body, times=999)
    for use in (
        lambda: storage.fetch(f"{bucket}/one"),
        lambda: storage.publish(model / "card", f"{bucket}/one"),
        storage.Mirror(f"{bucket}/one", model).pull,
    ):
        with pytest.raises(ValueError, match="Received") as caught:
            use()
        assert str(caught.value).startswith(message)
        assert re.search(r"\. Received: path='s3://bucket/one[^\n]*'$", str(caught.value))


def test_an_answer_that_nothing_explains_is_reported_as_it_is(bucket, objects, traffic):
    objects.blob("one").upload_from_string(b"1")
    traffic.fail("status", action="find", status=400, times=999)
    refused(f"{bucket}/one", "cannot be read: the server answers 400. ", storage.RemoteError)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("cut_request", "the server at http://127.0.0.1:{} closes the connection, for 0.1 s"),
        ("wait", "the server at http://127.0.0.1:{} is silent, for 0.1 s"),
        ("", "no server can be reached at http://127.0.0.1:1, for 0.1 s"),
    ],
)
def test_a_connection_that_does_not_come_about_is_one_line(bucket, traffic, monkeypatch, kind, problem):
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.1)
    monkeypatch.setattr(remote.bucket, "READ_TIMEOUT", 0.2)
    port = os.environ["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]
    if kind:
        traffic.fail(kind, seconds=0.4, times=99)
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    refused(f"{bucket}/data", f"cannot be read: {problem.format(port)}. ", OSError)


def test_an_answer_of_something_else_than_s3_is_one_line(bucket, traffic, monkeypatch):
    monkeypatch.setattr(remote.bucket, "TIMEOUT", 0.1)
    traffic.fail("status", action="list", status=200, body=b"<html>Welcome</nothing>", times=99)
    with pytest.raises(storage.RemoteError, match=r"^cannot be read: [^\n]*Received: path='s3://bucket/data'$"):
        storage.list_folder(f"{bucket}/data")


def test_a_pod_with_a_role_needs_no_keys(bucket, objects, s3_emulator, monkeypatch, tmp_path):
    """As IRSA sets it up: a token in a file, which AWS's token service changes for credentials."""
    objects.blob("one").upload_from_string(b"1")
    (tmp_path / "token").write_text("token of the pod")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{s3_emulator}")
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/trainer")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    assert storage.fetch(f"{bucket}/one").read_bytes() == b"1"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "gone"))
    connection.connect(bucket)
    with pytest.raises((ValueError, storage.RemoteError), match=r"^[^\n]*Received: path='s3://bucket/two'$"):
        storage.fetch(f"{bucket}/two")


def test_a_server_with_an_own_certificate_and_path_style(bucket, objects, s3_emulator, trusted, monkeypatch):
    objects.blob("one").upload_from_string(b"1")
    with bucket_proxy.proxy(s3_emulator, s3_buckets.S3Proxy, trusted) as (address, traffic):
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        for endpoint in (address, address.replace("://", "://me:very-secret@")):
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            refused(f"{bucket}/one", "the server's certificate is not trusted, see AWS_CA_BUNDLE: ", OSError)
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
        assert storage.fetch(f"{bucket}/one").read_bytes() == b"1"
        assert traffic.of("download") == ["one"]
