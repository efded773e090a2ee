"""Every controller lives within the rules that its role grants."""

from fairlead.api import kinds
from fairlead.controllers import permissions
from fairlead.testing import permissions as guards
from fairlead.testing import workloads


async def test_a_whole_life_needs_no_more_than_the_roles_grant() -> None:
    cluster = workloads.FakeCluster(root_ca_pem="PEM")
    guard = cluster.server.fail = guards.Guard()
    async with cluster:
        await cluster.client.create(kinds.NAMESPACE, {"metadata": {"name": "team"}})
        await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
        service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await cluster.client.create(kinds.SERVICE, service, namespace="default")
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        spec = {"scaleTargetRef": target, "minReplicas": 5, "maxReplicas": 9, "metrics": [metric]}
        await cluster.client.create(kinds.HPA, {"metadata": {"name": "web"}, "spec": spec}, namespace="default")
        await cluster.settle(5)
        assert len(await cluster.pods()) == 5
        for propagation in ("Orphan", "Foreground"):
            await cluster.client.delete(
                kinds.DEPLOYMENT,
                "web",
                namespace="default",
                propagation=propagation,  # type: ignore[arg-type]
            )
            await cluster.settle(2)
            await cluster.client.create(kinds.DEPLOYMENT, workloads.deployment())
            await cluster.settle(2)
        await cluster.client.delete(kinds.NAMESPACE, "team")
        await cluster.client.delete(kinds.SERVICE, "web", namespace="default")
        await cluster.settle(5)
    assert guard.refused == set()


def test_rules_are_read_as_an_authorizer_reads_them() -> None:
    rules = permissions.RULES["horizontal-pod-autoscaler"]
    assert permissions.allows(rules, verb="patch", group="apps", resource="deployments/scale")
    assert not permissions.allows(rules, verb="patch", group="apps", resource="deployments")
    assert not permissions.allows(permissions.RULES["deployment-controller"], verb="create", group="", resource="pods")
