"""The versions of one registered model in MLflow, with their tags and aliases."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etils import epy

from ganlib import tracking
from ganlib.tracking.client import connect
from ganlib.tracking.models import MODEL_TAG

with epy.lazy_imports():
    import mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
VERSIONS_TAG = "mlflow.modelVersions"  # MLflow's own
WEIGHTS_TAG, THRESHOLDS_TAG, TOLERANCE_TAG = "weights.sha256", "gate.thresholds", "gate.tolerance"
CLAIM_TAG, CLAIM_OWNER, CLAIM_TARGET = "promotion.claim", " by ", ", rollback to "
ABSENT, PRESENT = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        number: Its number.
        run_id: The MLflow run that it came from.
        tags: Its tags.
    """

    number: str
    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Claim:
    """What a process is about to do with a version.

    Attributes:
        number: The version that is promoted, or rolled back.
        seconds: How long ago it was claimed.
        owner: Who claimed it: a token of one `Registry`.
        target: The version that becomes the champion again by a rollback; None for a promotion.
    """

    number: str
    seconds: float
    owner: str
    target: str | None

    @classmethod
    def of(cls, version: Version) -> Claim:
        """Reads the claim of a version that has one."""
        claim, *target = version.tags[CLAIM_TAG].split(CLAIM_TARGET)
        began, _, owner = claim.partition(CLAIM_OWNER)
        return cls(version.number, time.time() - float(began), owner, target[0] if target else None)


class Registry:
    """A registered model. Its methods raise RuntimeError, in one line without secrets, where MLflow fails.

    Args:
        name: Name of the registered model.

    Raises:
        ValueError: There is no tracking address, or one that is not valid.
    """

    def __init__(self, name: str) -> None:
        if not os.environ.get("MLFLOW_TRACKING_URI"):  # MLflow would create a store in the working directory
            raise ValueError(
                "a registered model needs MLflow: expected the address of its server in MLFLOW_TRACKING_URI, on a "
                f"cluster platform.mlflow_tracking_uri. Received: registered_model={name!r} and no address"
            )
        self.name, self._owner = name, uuid.uuid4().hex[:12]
        with _in_one_line():
            self._client: MlflowClient = connect()

    def aliases(self) -> dict[str, str]:
        """Returns the number of the version of each alias; empty if there is no such model."""
        with _in_one_line():
            try:
                found = self._client.get_registered_model(self.name).aliases
            except mlflow.MlflowException as error:
                if error.error_code != ABSENT:
                    raise
                return {}
            return {alias: str(version) for alias, version in found.items()}

    def version(self, number: str) -> Version:
        """Returns a version.

        Raises:
            ValueError: There is none.
        """
        found = self.lookup(number)
        if found is None:
            raise ValueError(f"expected a version of {self.name} in the registry. Received: version={number!r}")
        return found

    def lookup(self, number: str) -> Version | None:
        """Returns a version, if it exists."""
        with _in_one_line():
            try:
                return _version(self._client.get_model_version(self.name, number))
            except mlflow.MlflowException as error:
                if error.error_code not in (ABSENT, "INVALID_PARAMETER_VALUE"):
                    raise
        return None

    def find(self, digest: str) -> Version | None:
        """Returns the first version of the model with a digest, if there is one."""
        return next(iter(self.search(MODEL_TAG, digest)), None)

    def search(self, tag: str, value: str) -> list[Version]:
        """Returns the versions with a tag, the first one first."""
        query = f"name = '{self.name}' and tags.`{tag}` = '{value}'"
        with _in_one_line():
            found = [_version(version) for version in self._client.search_model_versions(query)]
        return sorted(found, key=lambda version: int(version.number))

    def add(self, folder: Path, *, digest: str, tags: Mapping[str, str]) -> Version:
        """Registers the model that a tracked folder holds, unless it has a version, and returns its version.

        Args:
            folder: The exported model, whose run and files are delivered first.
            digest: Identifies the model.
            tags: Tags of a new version.
        """
        tracking.deliver(folder)
        known = self.find(digest)
        with _in_one_line():
            if known is None:
                known = self._create(tracking.run_id(folder) or "", digest, tags)
                first = self.search(MODEL_TAG, digest)[0]
                if first.number != known.number:  # another process has registered the same model meanwhile
                    self._client.delete_model_version(self.name, known.number)
                    known = first
            self._link(known.number)
        return known

    def _create(self, run_id: str, digest: str, tags: Mapping[str, str]) -> Version:
        run = self._client.get_run(run_id)
        models = self._client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
        model = next((one for one in models if one.tags.get(MODEL_TAG) == digest), None)
        if model is None:
            raise RuntimeError(f"the MLflow run {run_id} has no model with the digest {digest}")
        try:
            self._client.create_registered_model(self.name)
        except mlflow.MlflowException as error:
            if error.error_code != PRESENT:
                raise
        source = f"models:/{model.model_id}"
        tags = {**tags, MODEL_TAG: digest}
        return _version(
            self._client.create_model_version(self.name, source, run_id, tags=tags, model_id=model.model_id)
        )

    def _link(self, number: str) -> None:
        """Names a version on the page of its model, as `mlflow.register_model` and MLflow's server do."""
        model_id = self._model_id(number)
        links = json.loads(self._client.get_logged_model(model_id).tags.get(VERSIONS_TAG, "[]"))
        if not any((link["name"], str(link["version"])) == (self.name, number) for link in links):
            links.append({"name": self.name, "version": number})
            self._client.set_logged_model_tags(model_id, {VERSIONS_TAG: json.dumps(links)})

    def _model_id(self, number: str) -> str:
        return str(self._client.get_model_version(self.name, number).source).removeprefix("models:/")

    def picture(self, number: str, file: str) -> str:
        """Returns the address of a picture in a version's files, relative to MLflow's page."""
        with _in_one_line():
            model_id = self._model_id(number)
        return f"ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files?artifact_file_path={file}"

    def describe(self, number: str, description: str) -> None:
        """Sets the description of a version, Markdown for MLflow's page."""
        with _in_one_line():
            self._client.update_model_version(self.name, number, description)

    def download(self, number: str, target: Path, *, files: tuple[str, ...] = ()) -> Path:
        """Downloads the files of a version, all of them by default, and returns their folder.

        Raises:
            ValueError: The version has no such file.
        """
        target.mkdir(parents=True, exist_ok=True)
        uri, tracking_uri = f"models:/{self.name}/{number}", self._client.tracking_uri
        with _in_one_line():
            for address in [f"{uri}/{file}" for file in files] or [uri]:
                try:
                    mlflow.artifacts.download_artifacts(address, dst_path=str(target), tracking_uri=tracking_uri)
                except mlflow.MlflowException as error:
                    if error.error_code != ABSENT:
                        raise
                    missing = address
                    break
            else:
                return target
        raise ValueError(f"expected files of an exported model in the registry. Received: no {missing}")

    def tag(self, number: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a version."""
        with _in_one_line():
            for name, value in tags.items():
                try:
                    self._client.set_model_version_tag(self.name, number, name, value)
                except mlflow.MlflowException as error:
                    if error.error_code != "BAD_REQUEST":  # MLflow's word for a row that another process just added
                        raise
                    self._client.set_model_version_tag(self.name, number, name, value)

    def untag(self, number: str, *names: str) -> None:
        """Removes tags of a version, if it has them."""
        with _in_one_line():
            for name in names:
                try:
                    self._client.delete_model_version_tag(self.name, number, name)
                except mlflow.MlflowException as error:
                    if error.error_code != ABSENT:
                        raise

    def point(self, alias: str, number: str) -> None:
        """Moves an alias to a version."""
        with _in_one_line():
            self._client.set_registered_model_alias(self.name, alias, number)

    def remove(self, alias: str) -> None:
        """Removes an alias, if it exists."""
        with _in_one_line():
            self._client.delete_registered_model_alias(self.name, alias)

    def claim(self, number: str, *, target: str | None = None) -> None:
        """Says that a version is about to become the champion or, with a target, to be replaced by that one."""
        claim = f"{time.time():.0f}{CLAIM_OWNER}{self._owner}"
        self.tag(number, {CLAIM_TAG: claim + (f"{CLAIM_TARGET}{target}" if target else "")})

    def claimed(self, number: str) -> Claim | None:
        """Returns the claim of a version, if it has one."""
        version = self.version(number)
        return Claim.of(version) if CLAIM_TAG in version.tags else None

    def holds(self, number: str) -> bool:
        """Returns whether this process has the claim of a version, and no other has taken it over."""
        claim = self.claimed(number)
        return claim is not None and claim.owner == self._owner

    def release(self, number: str) -> None:
        """Ends the claim of a version, unless another process has taken it over."""
        if self.holds(number):
            self.untag(number, CLAIM_TAG)

    def claims(self) -> list[Claim]:
        """Returns what others, and this process, are about to do."""
        with _in_one_line():
            query = f"name = '{self.name}' and tags.`{CLAIM_TAG}` != ''"
            found = [_version(version) for version in self._client.search_model_versions(query)]
        # A claim may end between MLflow's query for the versions and its query for their tags.
        return [Claim.of(version) for version in found if CLAIM_TAG in version.tags]


def _version(version: Any) -> Version:
    return Version(str(version.version), str(version.run_id), dict(version.tags))


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turns errors of MLflow and of its database into one line without secrets."""
    try:
        yield
    except (tracking.DeliveryBlocked, RuntimeError):
        raise
    except Exception as error:  # noqa: BLE001  # the text of any error of a server may contain a password
        raise RuntimeError(f"cannot use the MLflow registry: {tracking.error_summary(error)}") from None
