"""How a command fails: one message on standard error that says what and where, exit status 1, no traceback."""

from __future__ import annotations

import click


class Failure(click.ClickException):
    """What the user has to know; several lines where several things are wrong."""

    exit_code = 1

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))

    def show(self, file: object = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"{click.style('error', fg='red')}: {line}", err=True)
