"""`fairlead kubeconfig`: where kubectl finds the cluster."""

from __future__ import annotations

import click

from fairlead.cli import failure, options
from fairlead.cluster import state


@click.command("kubeconfig")
@options.name
@click.option("--raw", is_flag=True, help="Print its text instead of its path.")
def command(name: str, raw: bool) -> None:
    """Print the path of the kubeconfig: `export KUBECONFIG=$(fairlead kubeconfig)`."""
    folder = state.StateFolder.of(name)
    if not folder.kubeconfig.exists():
        raise failure.Failure(f"cluster {name!r} has no kubeconfig: it was never started here (`fairlead up -d`)")
    click.echo(folder.kubeconfig.read_text() if raw else str(folder.kubeconfig), nl=not raw)
