"""The packed schemas: made again byte for byte, quick to check a pod, Go's words for what is wrong; protobuf bodies."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api.schema import pack, protobuf, shape

ROOT = Path(__file__).resolve().parents[2]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pack_is_what_the_script_makes(tmp_path: Path) -> None:
    _script("build_schemas").build(tmp_path)
    for name in ("schemas.bin", "descriptions.bin"):
        assert (tmp_path / name).read_bytes() == (Path(pack.__file__).parent / name).read_bytes(), name


def pod() -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "nginx",
        "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "100m"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
        "env": [{"name": "A", "value": "1"}],
    }
    metadata = {"name": "p", "labels": {"a": "b"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def test_a_pod_is_checked_in_under_a_tenth_of_a_millisecond() -> None:
    check, body = shape.shapes.check(pack.definition_of("", "v1", "Pod")), pod()
    assert check(body)
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            check(body)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 0.0001


def clean(body: dict[str, Any]) -> tuple[Any, list[str]]:
    report = shape.Report()
    schema = pack.definitions()[pack.definition_of("", "v1", "Pod")]
    return shape.clean(body, schema, report), report.unknown


def test_unknown_fields_and_nulls_are_dropped() -> None:
    body = pod()
    body["spec"]["foo"] = 1
    body["spec"]["containers"][0]["bar"] = {"x": 1}
    body["spec"]["nodeName"] = None
    cleaned, unknown = clean(body)
    assert cleaned == pod() and sorted(unknown) == ["spec.containers[0].bar", "spec.foo"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "containers"), "x", " string into PodSpec.spec.containers of type []v1.Container"),
        (("spec", "hostNetwork"), "yes", " string into PodSpec.spec.hostNetwork of type bool"),
        (("spec", "priority"), 2**40, " number 1099511627776 into PodSpec.spec.priority of type int32"),
        (("spec", "priority"), 1.5, " number 1.5 into PodSpec.spec.priority of type int32"),
        (("metadata", "labels"), {"a": 1}, " number into ObjectMeta.metadata.labels.a of type string"),
    ],
)
def test_wrong_types_are_refused_in_gos_words(path: tuple[str, str], value: Any, message: str) -> None:
    body = pod()
    body[path[0]][path[1]] = value
    with pytest.raises(shape.ShapeError) as caught:
        clean(body)
    assert "cannot unmarshal" + message in str(caught.value).replace("Go struct field ", "")


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    with contextlib.suppress(protobuf.ProtobufError):
        protobuf.decode(protobuf.MAGIC + data)


def test_a_pod_in_protobuf() -> None:
    def field(number: int, data: bytes) -> bytes:
        return bytes((number << 3 | 2, len(data))) + data

    container = field(1, b"main") + field(2, b"nginx") + field(6, field(1, b"web") + b"\x18\x50")
    body = field(1, field(1, b"p") + field(11, field(1, b"k") + field(2, b"v")) + field(8, b"")) + field(
        2, field(2, container)
    )
    envelope = field(1, field(1, b"v1") + field(2, b"Pod")) + field(2, body)
    assert protobuf.decode(protobuf.MAGIC + envelope) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"k": "v"}},
        "spec": {"containers": [{"name": "main", "image": "nginx", "ports": [{"name": "web", "containerPort": 80}]}]},
    }
