"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fairlead.api import names
from fairlead.cluster import config

name = click.option("--name", default="default", show_default=True, help="The cluster's name.")
CONNECT_TIME = ("auto", "on", "off")
NETWORKS = ("auto", "kernel", "rootless", "loopback")


def _absolute(_: click.Context, __: click.Parameter, value: str) -> str:
    """A process in the background has another working directory."""
    return str(Path(value).absolute()) if value not in ("", "-") else value


def _labels(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """KEY=VALUE of each. Raises BadParameter."""
    for text in given:
        key, equals, value = text.partition("=")
        problem = "KEY=VALUE is expected" if not equals else ""
        problem = problem or names.qualified_problem(key) or names.label_value_problem(value)
        if problem:
            raise click.BadParameter(f"{text!r}: {problem}")
    return given


access_log = (
    click.option(
        "--access-log", default="", metavar="FILE", callback=_absolute,
        help="Write a line of JSON for each HTTP request there (-: standard output).",
    ),
    click.option(
        "--access-log-share", type=click.FloatRange(0, 1), default=1.0, metavar="0..1",
        help="Only for this share of the requests, and for all errors.",
    ),
    click.option("--access-log-query", is_flag=True, help="With the paths' queries, which may hold secrets."),
)  # fmt: skip


def logging_access(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the access log."""
    for option in reversed(access_log):
        function = option(function)
    return function


def serving(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how a cluster is run; `up` and its background process take the same ones."""
    for option in reversed(
        (
            click.option("--network", type=click.Choice(NETWORKS), default="auto", help="Force one network mode."),
            click.option(
                "--ip-family",
                type=click.Choice(tuple(config.IP_FAMILIES)),
                default="auto",
                help="Address families of pods and Services, the first of which is the default (dual: IPv4 first).",
            ),
            click.option(
                "--connect-time",
                type=click.Choice(CONNECT_TIME),
                default="auto",
                help="Balance Services at connect time (eBPF): where it works, always (else do not start), or never.",
            ),
            click.option(
                "--runtime",
                default="auto",
                metavar="auto|process|podman|docker|SOCKET",
                help="What runs images: none (process), Podman, Docker, or the engine at a socket.",
            ),
            click.option(
                "--http",
                multiple=True,
                metavar="ADDR:PORT",
                help="Where the edge listens for HTTP (127.0.0.1:8080 and [::1]:8080).",
            ),
            click.option(
                "--https",
                multiple=True,
                metavar="ADDR:PORT",
                help="Where the edge listens for HTTPS (127.0.0.1:8443 and [::1]:8443).",
            ),
            *access_log,
            click.option(
                "--node-label",
                multiple=True,
                metavar="KEY=VALUE",
                callback=_labels,
                help="A label of the node; topology.kubernetes.io/zone says in which zone traffic begins.",
            ),
            click.option("--ingress-nginx", is_flag=True, help="Take Ingresses of class nginx as ingress-nginx does."),
            click.option("--api-address", default="127.0.0.1", metavar="ADDR", help="Where the API server listens."),
            click.option("--api-port", default=0, help="The API server's port (6443 if free, else another)."),
            click.option(
                "--hpa-period",
                default=0.0,
                type=click.FloatRange(min=0.0, max=3600.0),
                metavar="SECONDS",
                help="How often autoscalers are evaluated (1; a tenth of a window below 5).",
            ),
            click.option(
                "--hpa-window",
                default=5.0,
                type=click.FloatRange(min=0.5, max=60.0),
                metavar="SECONDS",
                help="Over how long they average metrics.",
            ),
        )
    ):
        function = option(function)
    return function


def given(how: dict[str, Any]) -> dict[str, Any]:
    """Those of the running command's options that were said, and do not stand by themselves."""
    context = click.get_current_context()
    unsaid = (None, click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP)
    return {key: value for key, value in how.items() if context.get_parameter_source(key) not in unsaid}


def launching(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that start something: in the background or not, and how long it may take."""
    for option in (
        click.option(
            "--timeout",
            default=120.0,
            show_default=True,
            metavar="SECONDS",
            help="How long everything may take to get ready.",
        ),
        click.option("--keep", is_flag=True, help="In the foreground: keep the state for the next start."),
        click.option("-d", "--detach", is_flag=True, help="Run in the background; `fairlead down` ends it."),
    ):
        function = option(function)
    return function


def configured(
    name: str, *, ephemeral: bool, http: tuple[str, ...], https: tuple[str, ...], **how: Any
) -> config.ClusterConfig:
    """The ClusterConfig of command-line options. Raises AddressError."""
    return config.ClusterConfig(
        name=name,
        ephemeral=ephemeral,
        http=config.doors(http, config.EDGE_HTTP),
        https=config.doors(https, config.EDGE_HTTPS),
        network=how["network"],
        ip_family=how["ip_family"],
        connect_time=how["connect_time"],
        runtime=how["runtime"],
        ingress_nginx=how["ingress_nginx"],
        api_address=how["api_address"],
        api_port=how["api_port"],
        hpa_period_seconds=how["hpa_period"],
        hpa_window_seconds=how["hpa_window"],
        access_log=how["access_log"],
        access_log_share=how["access_log_share"],
        access_log_query=how["access_log_query"],
        node_labels=dict(text.split("=", 1) for text in how["node_label"]),
    )
