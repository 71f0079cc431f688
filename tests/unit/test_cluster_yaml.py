"""``cluster.yaml``, held to Ray's own checks of such a file and to what this project asks of a cluster; no cloud."""

import copy
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
PACKAGE = "~/lever-ray"
"""Where the nodes find the project."""

Config = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Ray and MLflow import


@pytest.fixture
def config() -> Config:
    return yaml.safe_load(TEXT)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sockets, and no boto3 even where it is installed: importing it fails."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for module in ("boto3", "botocore"):
        monkeypatch.setitem(sys.modules, module, None)


def prepared(config: Config) -> Config:
    """``config`` as ``ray up`` completes and checks it before it first calls the cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    return filled


def programs(command: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell command, assignments included."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();&|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in lexer:
        if set(token) <= set("();&|"):
            yield words
            words = []
        else:
            words.append(token)
    yield words


def arguments(commands: list[str], *program: str) -> list[str]:
    """What the only call of ``program`` in ``commands`` is given, up to a redirection."""
    size = len(program)
    (given,) = [
        words[start + size :]
        for command in commands
        for words in programs(command)
        for start in range(len(words))
        if tuple(words[start : start + size]) == program
    ]
    return given[: given.index(">")] if ">" in given else given


def exported(command: str) -> dict[str, str]:
    """Variables that a shell command exports."""
    exports = [words[1:] for words in programs(command) if words[:1] == ["export"]]
    return dict(word.split("=", 1) for words in exports for word in words)


def start_of(config: Config, kind: str) -> str:
    (command,) = [command for command in config[f"{kind}_start_ray_commands"] if "ray start" in command]
    return command


# Ray's own checks.


def test_ray_completes_and_accepts_it(config: Config) -> None:
    filled = prepared(config)
    assert filled["provider"]["type"] == "aws"
    assert filled["head_setup_commands"] == config["setup_commands"] + config["head_setup_commands"]
    assert filled["worker_setup_commands"] == config["setup_commands"]


def misspell(config: Config) -> None:
    config["file_mount"] = config.pop("file_mounts")


def misspell_in_a_node_type(config: Config) -> None:
    config["available_node_types"]["worker"]["max_worker"] = 2


def forget_resources(config: Config) -> None:
    del config["available_node_types"]["worker"]["resources"]


def forget_the_provider_type(config: Config) -> None:
    config["provider"]["type"] = 5


def write_a_command_as_a_mapping(config: Config) -> None:
    config["setup_commands"].append({"run": "true"})


def name_no_head(config: Config) -> None:
    config["head_node_type"] = "leader"


def ask_for_more_workers_than_allowed(config: Config) -> None:
    config["max_workers"] = 0


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (misspell, jsonschema.ValidationError),
        (misspell_in_a_node_type, jsonschema.ValidationError),
        (forget_resources, jsonschema.ValidationError),
        (write_a_command_as_a_mapping, jsonschema.ValidationError),
        (forget_the_provider_type, NotImplementedError),
        (name_no_head, ValueError),
        (ask_for_more_workers_than_allowed, ValueError),
    ],
)
def test_ray_refuses_a_broken_copy(config: Config, spoil: Callable[[Config], None], error: type[Exception]) -> None:
    prepared(config)
    spoil(config)
    with pytest.raises(error):
        prepared(config)


# Nodes.


def test_workers_come_and_go_within_the_limit_and_the_head_is_alone(config: Config) -> None:
    filled = prepared(config)
    types = filled["available_node_types"]
    workers = {name: node_type for name, node_type in types.items() if name != filled["head_node_type"]}
    assert types[filled["head_node_type"]]["max_workers"] == 0
    assert workers
    for node_type in workers.values():
        assert 0 <= node_type["min_workers"] < node_type["max_workers"] <= filled["max_workers"]
        assert "InstanceMarketOptions" not in node_type["node_config"]
    assert filled["idle_timeout_minutes"] > 0


def test_it_names_no_account_and_holds_no_secret() -> None:
    assert not re.search(r"\b\d{12}\b|AKIA\w+|\b(?:sg|vpc|subnet|ami|fs)-[0-9a-f]{8,}\b|arn:", TEXT)
    assert not re.search(r"RAY_AUTH_TOKEN\s*=|secret", TEXT, re.IGNORECASE)


# Ports and tokens.


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_every_node_starts_with_token_authentication_and_the_shared_home(config: Config, kind: str) -> None:
    variables = exported(start_of(config, kind))
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["LEVER_RAY_HOME"] == "/mnt/lever-ray"
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any(
        f"mount -t nfs4 {'-o'}" in command and "/mnt/lever-ray" in command for command in config["setup_commands"]
    )


def test_the_dashboard_and_mlflow_listen_on_the_loopback_of_the_head(config: Config) -> None:
    start = arguments(config["head_start_ray_commands"], "ray", "start")
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    server = arguments(config["head_start_ray_commands"], "mlflow", "server")
    options = dict(zip(server[::2], server[1::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--workers"] == "1"
    assert options["--backend-store-uri"] == "sqlite:////mnt/lever-ray/mlflow.db"
    assert exported(start_of(config, "head"))["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:{options['--port']}"


def test_no_port_is_opened_beyond_the_group_s_own(config: Config) -> None:
    assert "IpPermissions" not in config["provider"]["security_group"]
    assert not any("0.0.0.0" in command for name in COMMANDS for command in config[name])


# Commands.


def test_every_command_is_shell(config: Config) -> None:
    for command in [command for name in COMMANDS for command in config[name]]:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize("kind", ["head", "worker"])
def test_ray_knows_every_option_of_the_start_commands(config: Config, kind: str) -> None:
    from ray.scripts.scripts import start

    start.make_context("start", arguments(config[f"{kind}_start_ray_commands"], "ray", "start"))


def test_mlflow_knows_every_option_of_its_server(config: Config) -> None:
    from mlflow.cli import server

    server.make_context("server", arguments(config["head_start_ray_commands"], "mlflow", "server"))


# Files.


def mounted(config: Config) -> dict[str, str]:
    """Paths of the repository that the nodes get, by their place below the package."""
    mounts = {Path(remote): local for remote, local in config["file_mounts"].items()}
    return {
        str(remote.relative_to(PACKAGE)): local for remote, local in mounts.items() if remote.is_relative_to(PACKAGE)
    }


def missing_files(config: Config, text: str) -> list[str]:
    """Paths that the mounts, the commands and the comments mention and the repository lacks."""
    mentioned = list(mounted(config).values())
    for command in [command for name in COMMANDS for command in config[name]]:
        mentioned += re.findall(rf"{PACKAGE}(?:/([\w./-]+))?", command)
        mentioned += re.findall(r"(?<![\w./~-])[\w./-]+\.(?:py|toml|ya?ml|txt|sh|json)\b", command)
    mentioned += re.findall(r"(?<![\w./~-])(?:jobs|conf|lever_ray|tests|benchmarks|docs)/[\w./-]+\w", text)
    return [path for path in mentioned if not (ROOT / path).exists()]


def test_every_file_it_mentions_is_in_the_repository(config: Config) -> None:
    assert missing_files(config, TEXT) == []
    config["setup_commands"].append("python jobs/warm_up.py && pip install -r ~/lever-ray/requirements.txt")
    assert missing_files(config, TEXT) == ["requirements.txt", "jobs/warm_up.py"]


def test_the_nodes_get_all_that_the_package_is_built_from(config: Config) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel.get("force-include", {})}
    assert needed == set(mounted(config))
    assert all(Path(local) == Path(remote) for remote, local in mounted(config).items())


def test_the_pinned_ray_is_one_that_the_package_accepts(config: Config) -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    accepted = {(wanted := Requirement(text)).name: wanted.specifier for text in project["project"]["dependencies"]}
    (pinned,) = {
        pin for command in config["setup_commands"] for pin in re.findall(r"ray\[default\]==([\d.]+)", command)
    }
    assert accepted["ray"].contains(pinned)
