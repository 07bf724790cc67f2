"""A double of the API server of Kubernetes, with doubles of Kubeflow Trainer and Training Operator behind it.

It is a real HTTPS server, speaks the paths that a step and its workers use, and checks tokens and fields. It starts the
pods of a job as processes of this machine; what it knows of jobs was read in the sources of Kubeflow Trainer 2.1 and
2.2 and Training Operator 1.9. It has no scheduler, no images, no volumes and no names: it replaces the names of pods by
`localhost` in the environment of a process, as a cluster's DNS would find them.
"""

import contextlib
import copy
import datetime as dt
import http.server
import itertools
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

from background_server import running
from ports import free_ports

TOKEN, NAMESPACE, ACCOUNT_NAME = "token-of-the-pod", "team", "default-editor"
STEP_POD = "gan-training-x1-train-on-workers"
TRAINJOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
TFJOBS = f"/apis/kubeflow.org/v1/namespaces/{NAMESPACE}/tfjobs"
PODS, EVENTS = f"/api/v1/namespaces/{NAMESPACE}/pods", f"/api/v1/namespaces/{NAMESPACE}/events"
RUNTIMES = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainingruntimes"
CLUSTER_RUNTIMES = "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes"
GROUPS = {
    "/apis/trainer.kubeflow.org/v1alpha1": ("trainjobs", "trainingruntimes", "clustertrainingruntimes"),
    "/apis/kubeflow.org/v1": ("tfjobs", "pytorchjobs"),
}
# The fields that the definitions of Kubeflow Trainer 2.2 and Training Operator 1.9 have, as far as we could use them.
POD_PATCH = {"serviceAccountName", "volumes", "initContainers", "containers", "imagePullSecrets", "securityContext"}
POD_PATCH |= {"nodeSelector", "affinity", "tolerations", "schedulingGates"}
FIELDS = {
    "trainjobs": {
        ("spec",): {"runtimeRef", "initializer", "trainer", "runtimePatches", "suspend", "managedBy"},
        ("spec", "runtimeRef"): {"name", "apiGroup", "kind"},
        ("spec", "trainer"): {"image", "command", "args", "env", "numNodes", "resourcesPerNode", "numProcPerNode"},
        ("spec", "trainer", "resourcesPerNode"): {"limits", "requests", "claims"},
        ("spec", "runtimePatches", 0): {"manager", "time", "trainingRuntimeSpec"},
    },
    "tfjobs": {
        ("spec",): {"runPolicy", "tfReplicaSpecs", "successPolicy", "enableDynamicWorker"},
        ("spec", "runPolicy"): {"cleanPodPolicy", "ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit"},
        ("spec", "tfReplicaSpecs"): {"Worker", "Chief", "PS", "Evaluator", "Master"},
        ("spec", "tfReplicaSpecs", "Worker"): {"replicas", "restartPolicy", "template"},
    },
}
# What Kubeflow Trainer 2.1 has in place of `runtimePatches`.
TRAINER_21 = {
    ("spec",): FIELDS["trainjobs"]["spec",] - {"runtimePatches"} | {"podTemplateOverrides"},
    **{place: known for place, known in FIELDS["trainjobs"].items() if place[1:2] not in ((), ("runtimePatches",))},
    ("spec", "podTemplateOverrides", 0): {"targetJobs", "metadata", "spec"},
    ("spec", "podTemplateOverrides", 0, "spec"): POD_PATCH - {"securityContext"},
    ("spec", "podTemplateOverrides", 0, "spec", "containers", 0): {"name", "env", "volumeMounts"},
}
PATCH_PLACE = ("trainingRuntimeSpec", "template", "spec", "replicatedJobs", 0)
PATCHED_POD = ("template", "spec", "template")
RUNTIME = {
    "metadata": {"name": "torch-distributed"},
    "spec": {
        "mlPolicy": {"numNodes": 1, "torch": {}},
        "template": {
            "spec": {
                "replicatedJobs": [
                    {
                        "name": "node",
                        "template": {
                            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                            "spec": {"template": {"spec": {"containers": [{"name": "node", "image": "torch"}]}}},
                        },
                    }
                ]
            }
        },
    },
}
START = """
import sys
from pathlib import Path
from ganlib.workers import api, worker
api.ACCOUNT, worker.TERMINATION_LOG = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
worker.main()
"""


def inside(item, place):
    for step in place:
        item = item[step]
    return item


def now():
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer, since the second would wait 40 ms for the client to acknowledge the first

    def log_message(self, *words):
        pass

    def answer(self, status, value):
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message, reason=""):
        self.answer(status, {"kind": "Status", "message": message, "reason": reason, "code": status})

    def handle_any(self):
        cluster, (path, _, query) = self.server, self.path.partition("?")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null")
        query = dict(urllib.parse.parse_qsl(query))
        with cluster.lock:
            cluster.requests.append(("DRY RUN" if "dryRun" in query else self.command, path))
            if cluster.failures:
                return self.refuse(*cluster.failures.pop(0))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                return self.refuse(401, "Unauthorized")
            if path in GROUPS:
                known = [name for name in GROUPS[path] if name not in cluster.absent]
                return self.answer(200, {"resources": [{"name": name} for name in known]})
            if path.endswith("/selfsubjectaccessreviews"):
                return self.answer(201, {"status": {"allowed": self.allowed(body["spec"]["resourceAttributes"])}})
            return getattr(self, f"do_{self.command.lower()}")(cluster, path, query, body)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815  # names of the library

    def allowed(self, asked):
        resource = "/".join(filter(None, [asked["resource"], asked["subresource"]]))
        assert asked["namespace"] == NAMESPACE
        return (asked["verb"], resource) not in self.server.forbidden

    def do_get(self, cluster, path, query, body):
        if path.endswith("/log"):
            pod = path.split("/")[-2]
            if pod in cluster.unreachable:
                return self.refuse(500, "Get https://10.0.0.7:10250/containerLogs: dial tcp: i/o timeout")
            since = query.get("sinceTime", "").rstrip("Z")
            lines = [line for line in cluster.logs.get(pod, []) if line[:19] >= since]
            return self.answer(200, "".join(f"{line}\n" for line in lines))
        if path in cluster.objects:
            return self.answer(200, cluster.objects[path])
        below = [item for place, item in cluster.objects.items() if place.rpartition("/")[0] == path]
        if not below and path.rpartition("/")[2] not in (
            "pods",
            "events",
            "trainingruntimes",
            "clustertrainingruntimes",
        ):
            return self.refuse(404, f"{path} not found")
        label, _, value = query.get("labelSelector", "").partition("=")
        chosen = [item for item in below if not label or item["metadata"].get("labels", {}).get(label) == value]
        return self.answer(200, {"items": chosen})

    def do_post(self, cluster, path, query, body):
        plural, name = path.rpartition("/")[2], body["metadata"]["name"]
        assert query["fieldValidation"] == "Strict"
        for place, known in cluster.fields[plural].items():
            with contextlib.suppress(KeyError):  # optional fields
                for field in set(inside(body, place)) - known:
                    where = ".".join(map(str, (*place, field)))
                    return self.refuse(400, f'strict decoding error: unknown field "{where}"')
        if f"{path}/{name}" in cluster.objects:
            return self.refuse(409, f"{plural} {name} already exists", "AlreadyExists")
        if query.get("dryRun") == "All":
            return self.answer(201, body)
        job = cluster.put(f"{path}/{name}", body)
        self.answer(201, job)
        cluster.operate(f"{path}/{name}", job)
        return None

    def do_patch(self, cluster, path, query, body):
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        if path not in cluster.objects:
            return self.refuse(404, f"{path} not found")
        cluster.objects[path]["metadata"] |= body["metadata"]
        cluster.changed(path)
        return self.answer(200, cluster.objects[path])

    def do_delete(self, cluster, path, query, body):
        if path not in cluster.objects:
            return self.refuse(404, f"{path} not found")
        assert body.pop("propagationPolicy") == "Foreground"
        seen, metadata = body.pop("preconditions", {}), cluster.objects[path]["metadata"]
        assert not body
        if any(metadata[name] != value for name, value in seen.items()):
            return self.refuse(409, "the ResourceVersion in the precondition does not match", "Conflict")
        self.answer(200, cluster.objects[path])
        cluster.remove(path)
        return None


class Cluster(http.server.ThreadingHTTPServer):
    """The state of the double.

    Attributes:
        objects: Objects by path.
        logs: Lines of pods by name, each with its time.
        requests: Methods and paths that were asked for.
        failures: Status, message and reason of the next answers.
        absent: Kinds that the cluster does not have.
        fields: The fields that the definitions of jobs have, by kind and place.
        unreachable: Names of pods whose nodes do not answer.
        forbidden: Pairs of verb and resource that the service account may not use.
        run: Returns the command of a worker and sets its environment; None leaves pods pending.
        processes: The running processes by the name of their pod.
        secrets: Values by name and key.
    """

    daemon_threads = True

    def __init__(self, certificate, folder):
        super().__init__(("localhost", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.folder, self.account = folder, folder / "account"
        self.account.mkdir()
        for name, text in (("token", TOKEN), ("namespace", NAMESPACE), ("ca.crt", certificate.read_text())):
            (self.account / name).write_text(text)
        self.lock = threading.RLock()
        self.objects, self.logs, self.requests, self.failures = {}, {}, [], []
        self.absent, self.forbidden, self.secrets, self.unreachable = set(), set(), {}, set()
        self.fields, self.versions = dict(FIELDS), itertools.count(1)
        self.processes, self.run = {}, real_worker
        self.put(f"{CLUSTER_RUNTIMES}/torch-distributed", RUNTIME)
        self.add_step_pod()

    @property
    def environment(self):
        """What Kubernetes and KFP set in the pod of a step."""
        where = {"KUBERNETES_SERVICE_HOST": "localhost", "KUBERNETES_SERVICE_PORT": str(self.server_port)}
        return {**where, "KFP_POD_NAME": STEP_POD}

    def put(self, path, item):
        item = copy.deepcopy(item)
        item["metadata"] |= {"uid": uuid.uuid4().hex, "creationTimestamp": now()}
        self.objects[path] = item
        self.changed(path)
        return item

    def changed(self, path):
        self.objects[path]["metadata"]["resourceVersion"] = str(next(self.versions))

    def add_step_pod(self, name=STEP_POD):
        spec = {"serviceAccountName": ACCOUNT_NAME, "containers": [{"name": "wait"}, {"name": "main", "env": []}]}
        return self.put(f"{PODS}/{name}", {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Running"}})

    def jobs(self):
        with self.lock:
            return {path: item for path, item in self.objects.items() if path.startswith((TRAINJOBS, TFJOBS))}

    def pods(self):
        """The pods of all jobs, by name."""
        with self.lock:
            return {
                path.rpartition("/")[2]: item
                for path, item in self.objects.items()
                if path.startswith(PODS) and item["metadata"].get("labels")
            }

    def condition(self, path, kind, **more):
        with self.lock:
            if path in self.objects:
                conditions = self.objects[path].setdefault("status", {}).setdefault("conditions", [])
                conditions.append({"type": kind, "status": "True", **more})
                self.changed(path)

    def remove(self, path):
        """Deletes an object, and what belongs to it."""
        with self.lock:
            job = path.rpartition("/")[2]
            del self.objects[path]
            gone = [name for name, pod in self.pods().items() if pod["metadata"]["labels"]["gan-pipelines/job"] == job]
            for name in gone:
                process = self.processes.pop(name, None)
                if process:
                    process.terminate()
                del self.objects[f"{PODS}/{name}"]

    def operate(self, path, job):
        """Creates the pods of a job and starts them, as its operator would."""
        pods, name = templates(job), job["metadata"]["name"]
        ports = free_ports(len(pods))
        for index, (pod_name, _, template) in enumerate(pods):
            label = "training.kubeflow.org/replica-index" if path.startswith(TFJOBS) else INDEX_LABEL
            labels = {**template["metadata"]["labels"], label: str(index)}
            pod = {"metadata": {"name": pod_name, "labels": labels}, "spec": template["spec"]}
            self.put(f"{PODS}/{pod_name}", {**pod, "status": {"phase": "Pending"}})
        if self.run is None:
            return
        addresses = {f"{host}:2222": f"localhost:{port}" for (_, host, _), port in zip(pods, ports, strict=True)}
        for index, (pod_name, _, template) in enumerate(pods):
            (container,) = template["spec"]["containers"]
            environment = {item["name"]: self.value(item) for item in container["env"]}
            environment = {key: resolve(value, addresses) for key, value in environment.items()}
            if path.startswith(TFJOBS):
                task = {"type": "worker", "index": index}
                environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": [*addresses.values()]}, "task": task})
            else:
                environment["JOB_COMPLETION_INDEX"] = str(index)
            self.start(path, name, pod_name, index, container, {**environment, **self.environment})

    def value(self, item):
        if "value" in item:
            return item["value"]
        reference = item["valueFrom"]["secretKeyRef"]
        return self.secrets[reference["name"], reference["key"]]

    def start(self, path, name, pod, index, container, environment):
        log = self.folder / f"{pod}-termination"
        log.write_text("")
        command = self.run(self, index, container, log)
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.processes[pod], self.logs[pod] = process, []
        self.objects[f"{PODS}/{pod}"]["status"] = {
            "phase": "Running",
            "containerStatuses": [{"state": {"running": {}}}],
        }

        def watch():
            for line in process.stdout:
                self.logs[pod].append(f"{now()} {line.rstrip()}")
            code = process.wait()
            process.stdout.close()
            with self.lock:
                if self.processes.get(pod) is process:  # and not of a later pod with the same name
                    self.ended(path, pod, index, code if code >= 0 else 128 - code, log.read_text())

        threading.Thread(target=watch, daemon=True).start()

    def ended(self, path, pod, index, code, message):
        with self.lock:
            self.processes.pop(pod, None)
            if f"{PODS}/{pod}" not in self.objects:
                return
            ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": message}
            status = {"phase": "Succeeded" if code == 0 else "Failed"}
            self.objects[f"{PODS}/{pod}"]["status"] = {
                **status,
                "containerStatuses": [{"state": {"terminated": ended}}],
            }
            job = self.objects[f"{PODS}/{pod}"]["metadata"]["labels"]["gan-pipelines/job"]
            mine = [one for one in self.pods().values() if one["metadata"]["labels"]["gan-pipelines/job"] == job]
            tfjob = path.startswith(TFJOBS)
            if code:
                self.condition(path, "Failed", reason="TFJobFailed" if tfjob else "FailedJobs", message="a job failed")
            elif (tfjob and index == 0) or all(one["status"]["phase"] == "Succeeded" for one in mine):
                self.condition(path, "Succeeded" if tfjob else "Complete")

    def close(self):
        for process in list(self.processes.values()):
            process.kill()
        deadline = time.monotonic() + 10
        while self.processes and time.monotonic() < deadline:
            time.sleep(0.01)


INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def templates(job):
    """Returns name, host name and template of each pod of a job."""
    name, spec = job["metadata"]["name"], job["spec"]
    if job["kind"] == "TFJob":
        worker = spec["tfReplicaSpecs"]["Worker"]
        hosts = [f"{name}-worker-{index}.{NAMESPACE}.svc" for index in range(worker["replicas"])]
        return [(f"{name}-worker-{i}", host, worker["template"]) for i, host in enumerate(hosts)]
    trainer = spec["trainer"]
    if "podTemplateOverrides" in spec:
        (pod,) = spec["podTemplateOverrides"]
        assert pod["targetJobs"] == [{"name": "node"}]
    else:
        patch = inside(spec["runtimePatches"][0], PATCH_PLACE)
        pod = inside(patch, PATCHED_POD)
        assert patch["name"] == "node"
    assert set(pod["spec"]) <= POD_PATCH
    patched = (pod["spec"].get("containers") or [{"name": "node"}])[0]
    assert set(patched) <= {"name", "volumeMounts", "securityContext"}  # those of `node` may have no `env`
    container = {**patched, "env": trainer["env"], "command": trainer["command"], "image": trainer["image"]}
    template = {"metadata": pod["metadata"], "spec": {**pod["spec"], "containers": [container]}}
    hosts = [f"{name}-node-0-{index}" for index in range(trainer["numNodes"])]
    return [(f"{host}-{uuid.uuid4().hex[:5]}", f"{host}.{name}", template) for host in hosts]


def resolve(text, addresses):
    for host, address in addresses.items():
        text = text.replace(host, address)
    return text


def real_worker(cluster, index, container, termination_log):
    """The worker itself, on this machine."""
    python, m, module, place = container["command"]
    assert (python, m, module) == ("python3", "-m", "ganlib.workers.worker")
    return [sys.executable, "-c", START, str(cluster.account), str(termination_log), place]


@contextlib.contextmanager
def cluster(certificate, folder):
    """Runs the double."""
    with running(Cluster(certificate, Path(folder))) as server:
        try:
            yield server
        finally:
            server.close()
