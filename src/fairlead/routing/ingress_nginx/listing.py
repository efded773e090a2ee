"""The catalogue as a page of documentation; a test keeps docs/ingress-nginx.md equal to it."""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.routing import carried
from fairlead.routing.ingress_nginx import catalogue, configmap
from fairlead.routing.ingress_nginx.entry import Entry

_INTRODUCTION = """\
# Ingresses written for ingress-nginx

`fairlead up --ingress-nginx` takes Ingresses of class `nginx` (by `ingressClassName`, the old annotation, or an
IngressClass whose controller is `k8s.io/ingress-nginx`) with the behaviour that their users rely on.
`fairlead migrate ingress-nginx -f DIR` says beforehand, object by object, what stays the same (exit status 0), what
differs (1) and what is refused (2), and names what it could not read (3), such as the templates of a chart, which Helm
renders first; with `--kubeconfig` it asks a cluster. An Ingress of v1beta1, which no API server takes any more, is
judged as what it would be today; Secrets and Services that are not among the manifests are taken to exist, and named.
[Every case of ingress-nginx' own end-to-end tests](ingress-nginx-cases.md) is listed with what happens to it here.

## What is kept on purpose

* Paths of type `ImplementationSpecific` are prefixes of characters (`/foo` matches `/foobar`); `Prefix` is of elements.
* `use-regex`, or a `rewrite-target` that is not the path itself, makes **all** paths of that host regular expressions,
  whichever Ingress they are in: anchored at their beginning only, without regard to case, the longest path first.
* `rewrite-target` replaces the whole path; `$1` to `$9` are its groups. `x-forwarded-prefix` is sent only with it.
* Ingresses of one host share it; of two equal paths the oldest has it and the other is told by an Event.
* With `spec.tls`, http is redirected to https (308) and https answers carry Strict-Transport-Security, unless told
  otherwise.
* A host without a path `/` answers there with its first Ingress's default backend, else 404; it never falls through to
  another host.
* A canary shares an equal path of a main Ingress: by header, then cookie, then weight. It keeps the main one's other
  annotations, and its sessions.
* Paths that begin with one of `no-auth-locations` (`/.well-known/acme-challenge`) ask for no password, and no service.
* Where a path's Service is missing, `default-backend` answers and is told so (X-Code, X-Service-Name and others).
* A redirect to a mere path is written out with scheme and host, unless `relative-redirects` is true.
* A client certificate that one Ingress asks for is asked for at every path of its hosts: an Ingress
  that names a Secret of its own is judged by that, the others by the oldest one's.
* Limits count by client address over all paths of an Ingress, with nginx' burst.

## What is different on purpose

* Regular expressions are matched in linear time: look-around and back-references are refused, path by path.
* Nothing of an annotation ever becomes configuration text: there are no snippets, no Lua, no ModSecurity.
* What decides who may come in and is refused, wrong or not carried **closes its paths** (503) and is told by an Event.
  It is never left open.
* A Secret of another namespace is never read.
* Client certificates are judged by each host's own Secret, whatever name the handshake was made for: another host's
  certificate opens nothing (400), a connection that was not asked for one is sent away (421). Over plain http, and with
  a certificate that is no version 3, such a path is closed (400).
* A service that is asked (auth-url) and does not answer within 30 seconds, or says anything but 2xx, 401 or 403, is a
  500. At `$host` it is found among the host's own paths, without leaving the edge; a path that itself asks is a 500.
  Its answers are remembered only where it sets no cookie and does not forbid it.
* `auth-tls-match-cn` is compared with the common name alone, from its beginning; a CN= in another part opens nothing.
* Dot segments in a path are a 400 in every spelling, instead of being resolved. As in nginx, `/%61dmin` and `//admin`
  meet the rules of `/admin`, and `/a%2Fb` those of `/a/b`.
* What a client says of itself (X-Forwarded-*, X-Real-IP, Forwarded, X-Scheme, ssl-client-*) is removed unless it comes
  from a trusted proxy.
* Where a canary and sticky sessions meet, its header and cookie decide before the session does; the session decides
  before the weight.
* A canary shares one path's requests; other paths with the same Service are left alone.
* `backend-protocol: AUTO_HTTP` speaks HTTP to the endpoints, whatever the client spoke; of several times in
  `auth-cache-duration` the shortest counts for all of its statuses.
* `service-upstream`: the Service's own policy (its annotations, a BackendPolicy, `sessionAffinity`) decides instead of
  the Ingress's `load-balance`, hash and sticky cookie. But connections go to the endpoints, which are drained as ever;
  what watches the ClusterIP (a mesh's sidecar, rules of a firewall) does not see them. Each request is balanced, not
  each connection, `sessionAffinity: ClientIP` goes by the client's own address instead of the proxy's, and a request
  that failed may be tried at another endpoint.
* A redirect to https keeps the path as it was sent; ingress-nginx cuts off its last slash.
* `cors-allow-origin` without one entry that is an origin allows nobody, instead of everybody. Where everybody is
  allowed with credentials, a browser is told its own origin, since browsers refuse `*` then; without an Origin nothing
  is said, and an OPTIONS request that is no preflight goes to the Service.
* A header of `custom-headers` whose name is not allowed is left out; the path stays open.
* `use-regex` with sticky sessions needs `session-cookie-path`, else browsers do not send the cookie: an Event says so.
* Without `load-balance`, the endpoint with the fewest requests in flight is taken, in turn among equals: round robin
  where requests do not overlap, and better where they do.
"""


def render() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, "## Annotations\n\nEach is `nginx.ingress.kubernetes.io/NAME`.\n"]
    parts += _tables(catalogue.ENTRIES.values())
    parts.append("## The controller's ConfigMap\n\n`ingress-nginx/ingress-nginx-controller`, as its chart names it.\n")
    parts += _tables(configmap.ENTRIES[name] for name in sorted(configmap.ENTRIES))
    return "\n".join(parts)


def _tables(entries: Iterable[Entry]) -> list[str]:
    known = sorted(entries, key=lambda entry: entry.name)
    honoured = [entry for entry in known if entry.treatment == "honoured"]
    kept = [entry for entry in honoured if not (entry.note or _missing(entry.name))]
    parts = [f"Honoured: {', '.join(f'`{entry.name}`' for entry in kept)}.\n"]
    noted = [(entry.name, entry.note or _missing(entry.name)) for entry in honoured if entry not in kept]
    for title, rows in (
        ("Honoured, with a difference", noted),
        (
            "Accepted, without a meaning here",
            [(entry.name, entry.note) for entry in known if entry.treatment == "idle"],
        ),
        ("Refused", [(entry.name, entry.note) for entry in known if entry.treatment == "refused"]),
    ):
        if rows:
            parts.append(
                f"{title}:\n\n| name | why |\n| --- | --- |\n" + "".join(f"| `{n}` | {why} |\n" for n, why in rows)
            )
    return parts


def _missing(name: str) -> str:
    """What this version's engine does not carry of it."""
    if name == "auth-secret":
        forms = ", ".join(f"`{form}`" for form in carried.PASSWORDS)
        return f"passwords in the forms {forms} open (bcrypt up to cost {carried.MAX_COST}); others open nothing"
    return ""
