"""What every command does alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click import testing

from fairlead.api import manifest
from fairlead.cli import apply, failure, main, run
from fairlead.cluster import state

COMMANDS = (("status",), ("logs", "x"), ("kubeconfig",), ("explain", "x"), ("down",), ("resolve", "x"), ("backup", "x"))


@pytest.mark.parametrize("words", COMMANDS)
def test_a_name_that_cannot_be_one_is_said_in_one_line(words: tuple[str, ...]) -> None:
    done = testing.CliRunner().invoke(main.main, [words[0], "--name", "BAD_NAME", *words[1:]])
    assert (done.exit_code, done.output) == (
        1,
        "error: --name 'BAD_NAME': lower-case letters, digits and '-', at most 32 characters\n",
    )


def test_manifests_are_printed_without_references(tmp_path: Path) -> None:
    wanted = {"app": "web", "replicas": 1, "port": 80, "host": "", "environment": (), "probe": "", "cpu": "1"}
    text = manifest.dump(run.manifests(("web",), tmp_path, **wanted, max_replicas=0))
    assert "&id" not in text and "*id" not in text
    assert [one.title for one in manifest.load_manifests(text, source="-")] == [
        "Deployment/web", "Service/web", "Ingress/web",
    ]  # fmt: skip


def test_the_last_state_folder_takes_its_parent_with_it_and_another_does_not(tmp_path: Path) -> None:
    folders = [state.StateFolder.of(name, root=tmp_path / "all") for name in ("one", "two")]
    for one in folders:
        one.create()
    folders[0].remove()
    assert folders[1].path.is_dir()
    folders[1].remove()
    assert not (tmp_path / "all").exists()


def test_a_mistyped_command_is_told_what_was_meant() -> None:
    done = testing.CliRunner().invoke(main.main, ["stauts"])
    assert done.exit_code == 2 and "Did you mean 'status'?" in done.output
    assert "Did you mean" not in testing.CliRunner().invoke(main.main, ["quux"]).output


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "fairlead", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("fairlead, version ")


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [
        ("gateway.networking.k8s.io/v1", "Gateway", "Gateway API's kinds are not served here: routes are Ingresses"),
        ("shop.example/v1", "Basket", "a custom resource is applied with kubectl"),
        ("v1", "Deployment", "served: apps/v1"),
    ],
)
def test_a_kind_that_is_not_served_says_what_to_do(version: str, kind: str, words: str) -> None:
    text = f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"
    with pytest.raises(failure.Failure, match=words):
        apply.plan(manifest.load_manifests(text, source="-"))


def commands(group: click.Group, path: str = "fairlead") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield f"{path} {name}", found
        if isinstance(found, click.Group):
            yield from commands(found, f"{path} {name}")


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    silent = [
        f"{path} {option.opts[-1]}"
        for path, command in commands(main.main)
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and not option.help
    ]
    assert not silent, "\n".join(silent)
    assert [path for path, command in commands(main.main) if not command.help] == []
