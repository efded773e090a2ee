"""`fairlead`: the commands, each imported only when it is asked for (start-up time is a promise)."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

import click

import fairlead

_COMMANDS = {
    "up": ("fairlead.cli.up", "Bring manifests up on a local cluster, with traffic flowing."),
    "run": ("fairlead.cli.run", "Copies of one command behind a balancer, with no manifest."),
    "down": ("fairlead.cli.down", "Take the cluster down; nothing that runs stays behind."),
    "service": ("fairlead.cli.service", "Start a cluster with the machine: a systemd unit."),
    "status": ("fairlead.cli.status", "What runs, how it is reached, and by whom."),
    "logs": ("fairlead.cli.logs", "Logs of a pod, or of all pods of a workload."),
    "explain": ("fairlead.cli.explain", "Why traffic goes where it goes, and what an autoscaler decides."),
    "resolve": ("fairlead.cli.resolve", "What the cluster's DNS answers for a name."),
    "curl": ("fairlead.cli.curl", "curl, with the names of the cluster's Services."),
    "lb": ("fairlead.cli.lb", "Balance any servers, without manifests."),
    "migrate": ("fairlead.cli.migrate", "What of ingress-nginx' manifests stays the same, differs or is refused."),
    "record": ("fairlead.cli.record", "Record the load of a Service or Ingress for `fairlead hpa replay`."),
    "hpa": ("fairlead.cli.hpa", "Replay a load through HorizontalPodAutoscalers, without a cluster."),
    "backup": ("fairlead.cli.backup", "Every object of a cluster in one file, while it runs or not."),
    "restore": ("fairlead.cli.restore", "Put a backup in the place of a stopped cluster's objects."),
    "kubeconfig": ("fairlead.cli.kubeconfig", "The path of the kubeconfig (or its text with --raw)."),
}


class _Lazy(click.Group):
    """Lists every command without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "serve":  # the background process of `up -d`
            return _load("fairlead.cli.serve")
        if cmd_name not in _COMMANDS:
            return None
        return _load(_COMMANDS[cmd_name][0])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word that is no command is answered with the one that was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            meant = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            if not meant or "Did you mean" in error.message:
                raise
            raise click.UsageError(f"{error.message} Did you mean {meant[0]!r}?", ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """A state folder that cannot be used is the user's to know, whichever command looks at it."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            from fairlead.cli import failure
            from fairlead.cluster import state

            if isinstance(error, state.StateError):
                raise failure.Failure(str(error)) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _load(module: str) -> click.Command:
    with _no_trust_store():
        command: Any = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    return command


@contextlib.contextmanager
def _no_trust_store() -> Iterator[None]:
    """aiohttp makes two TLS contexts when it is imported and reads the system's 140 certificates for them, which is a
    fifth of our start. We never use those contexts: every connection of ours has one with its own trust."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fairlead.__version__, prog_name="fairlead")
def main() -> None:
    """Kubernetes' automatic load balancing as one Python package.

    `fairlead up DIR` runs the manifests in DIR on a cluster of its own: replicas, health, balancing, autoscaling.
    """


if __name__ == "__main__":
    main(prog_name="fairlead")
