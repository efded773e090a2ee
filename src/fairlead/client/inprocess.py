"""The transport without a socket: the API server's own chain, called with the caller's Identity.

Authorization and admission apply as over HTTPS; only authentication is replaced by the given Identity.
"""

from __future__ import annotations

from collections.abc import Callable

from fairlead.client import exchange, rest


def client(send: exchange.Exchange, identity: exchange.Identity) -> rest.RestClient:
    """A Client that asks `send` as `identity`."""
    return rest.RestClient(send, identity=identity)


def service_account(name: str, *, namespace: str = "kube-system") -> exchange.Identity:
    """The Identity of a ServiceAccount, as its token would give it."""
    return exchange.Identity(
        username=f"system:serviceaccount:{namespace}:{name}",
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"),
    )


def clients_for_controllers(send: exchange.Exchange) -> Callable[[str], rest.RestClient]:
    """What `controllers.suite` wants: a Client by the name of the controller's ServiceAccount in kube-system."""
    return lambda name: client(send, service_account(name))
