"""The manifests for Kubernetes: flags that the server has, fields that the API has, and what they promise."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from featsvc.server.commands.cli import _parser
from featsvc.server.config.settings import configuration
from featsvc.settings.attributes import attributes
from featsvc.settings.tree import Settings
from tests.packaging.kubernetes_fields import unknown
from tests.servers import ROOT

CHART = ROOT / "deploy" / "helm" / "featsvc"
KUBERAY = ROOT / "deploy" / "kuberay"
# Of `ray start`.
OF_RAY = {"--address", "--num-cpus", "--num-gpus", "--disable-usage-stats"}
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]+)")
KEYS = ("keys.secret=keys",)
OVER_RAY = (*KEYS, "ray.enabled=true", "ray.tokenSecret=ray", "gpus=1", "replicas=2")
FORMS = {
    "plain": KEYS,
    "over ray": OVER_RAY,
    "everything": (
        *KEYS,
        "replicas=3",
        "gpus=2",
        "tls.secret=tls",
        "tls.clientCa=true",
        "weights.claim=weights",
        "weights.offline=true",
        "cache.claim=cache",
        "settings.preload={demo-clip,demo-dino}",
        "settings.max-queue=512",
        "settings.url=false",
        "settings.request-timeout=0.5",
        "imagePullSecrets={pull}",
        "nodeSelector.zone=a",
        "tolerations[0].key=gpu",
        "podAnnotations.who=us",
        "service.clusterIP=None",
        "service.annotations.who=us",
    ),
}


def flags() -> set[str]:
    return {each.flag for each in attributes(Settings)}


def test_templates_and_values_name_settings_that_there_are() -> None:
    written = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    named = {f"--{name}" for name in FLAG.findall(written)}
    assert {"--api-key-file", "--tls-cert", "--metrics-port"} <= named
    assert named - OF_RAY <= flags()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert {f"--{name}" for name in values["settings"]} <= flags()


def test_the_manifest_for_kuberay_names_settings_that_there_are_and_fields_of_the_api() -> None:
    found = {
        each["kind"]: each for each in yaml.safe_load_all((KUBERAY / "featsvc.yaml").read_text()) if each
    }
    assert found.keys() == {"Deployment", "Service", "PodDisruptionBudget", "RayCluster"}
    assert [path for each in found.values() for path in unknown(each)] == []
    (gateway,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    settings = settings_of(gateway["args"])
    assert (settings.pool, settings.ray_address, settings.gpus_per_worker) == ("ray", "auto", 1)
    assert str(settings.ray_workers) == "2..16"
    head = found["RayCluster"]["spec"]["headGroupSpec"]
    (workers,) = found["RayCluster"]["spec"]["workerGroupSpecs"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert found["RayCluster"]["spec"]["authOptions"]["mode"] == "token"
    # A node of workers is no server, though it is of the same release.
    selected = found["Service"]["spec"]["selector"].items()
    assert selected == found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items()
    for template in (head["template"], workers["template"]):
        assert not selected <= template["metadata"]["labels"].items()
        (container,) = template["spec"]["containers"]
        assert "RAY_AUTH_TOKEN" in {each["name"] for each in container["env"]}
    lock = (ROOT / "deploy" / "ray.hashes").read_text()
    assert f"ray=={found['RayCluster']['spec']['rayVersion']} " in lock.replace("[data,default]", "")


def settings_of(args: list[str]) -> Settings:
    known, others = _parser(Settings).parse_known_args(["up", *args])
    assert others == []
    return configuration(vars(known), Settings).settings


def test_the_chart_has_the_version_of_the_package() -> None:
    from featsvc import __version__

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_a_field_that_the_api_does_not_have_is_found() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"name": "x", "Port": 1}]}}
    assert unknown(service) == ["Service.spec.ports.Port"]
    assert unknown({**service, "spec": {"ports": 1}}) == ["Service.spec.ports: 1"]


def program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name} on this machine")
    return found


@cache
def rendered(form: str) -> str:
    values = [word for each in FORMS[form] for word in ("--set", each)]
    ran = subprocess.run(
        [program("helm"), "template", "featsvc", str(CHART), *values], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def manifests(form: str) -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(rendered(form)) if each}


def container(form: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = manifests(form)["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_rendered_chart_has_fields_of_the_api(form: str) -> None:
    found = manifests(form)
    assert {"Deployment", "Service"} <= found.keys()
    assert [path for each in found.values() for path in unknown(each)] == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_rendered_server_has_settings_that_may_be(form: str) -> None:
    settings = settings_of(container(form)["args"])
    assert (settings.host, settings.metrics_port) == ("0.0.0.0", 9464)
    if form == "everything":
        assert settings.preload == ("demo-clip", "demo-dino")
        assert (settings.max_queue, settings.url, settings.request_timeout) == (512, False, 0.5)


@pytest.mark.slow
def test_a_rendered_server_is_watched_bounded_and_ended_in_time() -> None:
    found, everything = manifests("plain"), manifests("everything")
    assert container("plain")["readinessProbe"]["grpc"] == {"port": 50051}
    assert container("everything")["readinessProbe"]["httpGet"]["path"] == "/readyz", "gRPC's knows no TLS"
    assert container("everything")["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 2}
    assert "PodDisruptionBudget" in everything
    assert "PodDisruptionBudget" not in found, (
        "one server that may not go would keep its node from being drained"
    )
    assert found["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False
    grace = found["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > Settings().grace + 5
    mounts = {each["mountPath"] for each in container("everything")["volumeMounts"]}
    asked = {
        word.partition("=")[2].rpartition("/")[0]
        for word in container("everything")["args"]
        if "/etc/" in word
    }
    assert asked <= mounts
    for each in (found, everything):
        selector = each["Deployment"]["spec"]["selector"]["matchLabels"].items()
        assert selector == each["Service"]["spec"]["selector"].items()
        assert selector <= each["Deployment"]["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.slow
def test_the_manifest_for_kuberay_is_what_the_chart_makes() -> None:
    words = [program("helm"), "template", "featsvc", str(CHART), "-f", str(KUBERAY / "values.yaml")]
    made = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert made == (KUBERAY / "featsvc.yaml").read_text(), (
        "deploy/kuberay/values.yaml says how to make it anew"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("gpus=0",), "ray.gpusPerWorker: a worker wants 1 GPUs and a node has 0"),
        (("gpus=1", "ray.gpusPerWorker=2"), "ray.gpusPerWorker: a worker wants 2 GPUs and a node has 1"),
        (("ray.cpusPerWorker=4",), "ray.cpusPerWorker: a worker wants 4 CPUs and a node has 2"),
        (("resources.requests.cpu=900m",), "ray.cpusPerWorker: a worker wants 2 CPUs and a node has 1"),
        (("resources.limits.cpu=1",), "ray.cpusPerWorker: a worker wants 2 CPUs and a node has 1"),
        (("gpus=0", "ray.gpusPerWorker=0"), ""),
        (("ray.gpusPerWorker=0.5", "ray.cpusPerWorker=0.5"), ""),
        (("resources.requests.cpu=1500m",), ""),
        (("resources.limits.cpu=4", "ray.cpusPerWorker=4"), ""),
    ],
)
def test_workers_that_no_node_has_room_for_are_refused(values: tuple[str, ...], told: str) -> None:
    words = [word for each in (*OVER_RAY, *values) for word in ("--set", each)]
    ran = subprocess.run(
        [program("helm"), "template", "featsvc", str(CHART), *words], capture_output=True, text=True
    )
    assert (ran.returncode != 0) == bool(told), ran.stderr
    assert told in ran.stderr


@pytest.mark.slow
def test_helm_and_kubeconform_find_nothing() -> None:
    values = [word for each in KEYS for word in ("--set", each)]
    lint = subprocess.run(
        [program("helm"), "lint", "--strict", str(CHART), *values], capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stdout
    refused = subprocess.run([program("helm"), "template", str(CHART)], capture_output=True, text=True)
    assert "keys.secret: name a secret" in refused.stderr
    conform = [program("kubeconform"), "-strict", "-skip", "RayCluster"]
    for form in FORMS:
        ran = subprocess.run(conform, input=rendered(form), capture_output=True, text=True, timeout=60)
        if "failed downloading schema" in ran.stdout:
            pytest.skip("kubeconform cannot fetch its schemas here")
        assert ran.returncode == 0, ran.stdout
