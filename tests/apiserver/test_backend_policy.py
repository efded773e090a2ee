"""BackendPolicy as an API: served like Kubernetes' own kinds, with the schema that the translation reads."""

from typing import Any

import pytest

from fairlead.api import kinds
from fairlead.api.schema import own
from fairlead.client import errors, rest
from fairlead.routing import policy_fields

POLICY: dict[str, Any] = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "BackendPolicy",
    "metadata": {"name": "fast", "namespace": "default"},
    "spec": {
        "targetRefs": [{"kind": "Service", "name": "web", "sectionName": "http"}],
        "algorithm": "ewma",
        "slowStartSeconds": 2.5,
        "retry": {"attempts": 3, "on": ["connect"]},
    },
}


async def test_it_is_stored_has_a_generation_and_a_status_of_its_own(client: rest.RestClient) -> None:
    made = await client.create(kinds.BACKEND_POLICY, POLICY, namespace="default")
    assert made["spec"] == POLICY["spec"]
    assert made["metadata"]["generation"] == 1
    status = {
        "ancestors": [{"ancestorRef": {"kind": "Service", "name": "web"}, "controllerName": "x", "conditions": []}]
    }
    await client.patch(kinds.BACKEND_POLICY, "fast", {"status": status}, namespace="default", subresource="status")
    changed = await client.patch(
        kinds.BACKEND_POLICY, "fast", {"spec": {"algorithm": "random"}, "status": None}, namespace="default"
    )
    assert changed["status"] == status
    assert changed["metadata"]["generation"] == 2


@pytest.mark.parametrize("spec", [{"targetRefs": "web"}, {"targetRefs": [], "slowStartSeconds": "5"}])
async def test_a_wrong_type_is_refused(client: rest.RestClient, spec: dict[str, Any]) -> None:
    with pytest.raises(errors.ApiError) as refused:
        await client.create(kinds.BACKEND_POLICY, POLICY | {"spec": spec}, namespace="default")
    assert refused.value.code == 400


def test_the_schema_has_the_fields_that_the_translation_reads() -> None:
    properties = own.DEFINITIONS["dev.fairlead.v1alpha1.BackendPolicySpec"]["properties"]
    assert set(properties) == {"targetRefs", *policy_fields.SPEC}
    for name, (_, kind) in policy_fields.SPEC.items():
        if isinstance(kind, policy_fields.Group):
            assert set(properties[name]["properties"]) == set(kind.parts), name
