"""fairlead.yaml: which command runs an image, and what is said about mistakes."""

import pytest

from fairlead.node import images


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "web").mkdir()
    return tmp_path


def parse(folder, text):
    return images.parse(text, source="fairlead.yaml", folder=folder, owner=(1000, 1000))


def test_an_entry_is_a_command_in_a_folder_with_an_environment(folder):
    found, problems = parse(
        folder,
        'images:\n  "my-app:*":\n    command: [python3, server.py, 1]\n    dir: web\n    env: {A: 1, B: true, C: x}\n',
    )
    assert problems == []
    entry = found.find("my-app:latest")
    assert entry == images.ImageCommand(
        ("python3", "server.py", "1"), str(folder / "web"), {"A": "1", "B": "true", "C": "x"}, (1000, 1000)
    )


@pytest.mark.parametrize(
    ("pattern", "image", "matches"),
    [
        ("my-app:*", "my-app:latest", True), ("my-app:*", "my-app", True), ("my-app", "my-app:latest", True),
        ("my-app", "my-app:1.2", False), ("nginx", "docker.io/library/nginx:latest", True),
        ("nginx:*", "nginx:1.27", True),
        ("registry.example/team/*", "registry.example/team/web:3", True), ("other:*", "my-app", False),
        ("*", "anything:at@sha256:all", True), ("localhost:5000/app", "localhost:5000/app:latest", True),
    ],
)  # fmt: skip
def test_names_match_as_container_engines_spell_them(pattern, image, matches):
    entry = images.ImageCommand(("x",), "/")
    assert (images.ImageMap({pattern: entry}).find(image) is not None) == matches


def test_the_most_specific_entry_wins():
    entries = {name: images.ImageCommand((name,), "/") for name in ("*", "web:*", "web:1.*", "web:1.2")}
    found = images.ImageMap(entries)
    assert found.find("web:1.2").command == ("web:1.2",)
    assert found.find("web:1.3").command == ("web:1.*",)
    assert found.find("web:2").command == ("web:*",)
    assert found.find("db").command == ("*",)


def test_a_command_may_be_a_line_and_an_entry_only_a_command(folder):
    found, problems = parse(folder, "images:\n  a: python3 -m http.server '$(PORT)'\n  b: [ls]\n")
    assert problems == []
    assert found.find("a").command == ("python3", "-m", "http.server", "$(PORT)")
    assert found.find("b").command == ("ls",)


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("images: [1]", "images", "InvalidField"),
        ("[]", "", "InvalidFile"),
        ("images:\n  a: {command: []}", 'images["a"].command', "InvalidField"),
        ("images:\n  a: {}", 'images["a"].command', "InvalidField"),
        ('images:\n  a: {command: "x \'y"}', 'images["a"].command', "InvalidField"),
        ("images:\n  a: {command: [x], dir: nowhere}", 'images["a"].dir', "NotFound"),
        ("images:\n  a: {command: [x], env: [1]}", 'images["a"].env', "InvalidField"),
        ("images:\n  a: {command: [x], cmd: y}", 'images["a"].cmd', "UnknownField"),
        ("image: {}", "image", "UnknownField"),
        ("images: {a: 3}", 'images["a"]', "InvalidField"),
        ("a: [", "", "InvalidFile"),
        ("images:\n  a: x\n  a: y\n", "", "InvalidFile"),
    ],
)
def test_mistakes_name_the_file_and_the_field(folder, text, path, reason):
    _, problems = parse(folder, text)
    assert [(problem.object, problem.path, problem.reason) for problem in problems] == [("fairlead.yaml", path, reason)]


def test_one_bad_entry_does_not_hurt_the_others(folder):
    found, problems = parse(folder, "images:\n  good: ls\n  bad: {command: 3}\n")
    assert found.find("good") is not None
    assert found.find("bad") is None
    assert len(problems) == 1
