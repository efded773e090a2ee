"""The peers, each tuned as its own documentation advises for a proxy of one core: keep-alive to the backends, no
access log, one worker, limits out of the way. Retries and statistics stay as they are by default."""

from __future__ import annotations

from bench import candidates
from bench.peers import envoy, haproxy, nginx

ALL: tuple[candidates.Candidate, ...] = (haproxy.HAProxy(), nginx.Nginx(), envoy.Envoy())
