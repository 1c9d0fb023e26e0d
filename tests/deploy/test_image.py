"""The image, the Compose file and the lock file agree with the code."""

import re
import sys

import pytest
import yaml
from packaging.requirements import Requirement

from app.cli.main import app as commands
from app.config.environment import load_settings, variable_names
from app.config.settings import Settings
from app.errors import ConfigurationError
from tests.support.compose import FORWARDER, given_by_compose
from tests.support.harness import settings_from
from tests.support.repository import COMPOSE, PROJECT, ROOT
from tests.support.tools import output_of

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
STEPS = [" ".join(step.split()) for line in DOCKERFILE.splitlines() for step in line.split("&&")]
LOCK = (ROOT / "deploy" / "requirements.txt").read_text()
BUILD_LOCK = (ROOT / "deploy" / "build-requirements.txt").read_text()
TRIAL = dict(re.findall(r"#   (CDR_WEBHOOK_URL)=(\S+) docker compose up", (ROOT / "docker-compose.yml").read_text()))
OURS = [name for name, service in COMPOSE["services"].items() if service.get("image") == "cdr-forwarder"]


def instruction(name: str) -> str:
    """Return what follows the last instruction of that name."""
    return str(re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]).strip()


def exec_form(text: str) -> list[str]:
    words: list[str] = yaml.safe_load(text)
    assert isinstance(words, list), "a shell would stand between the signal and the forwarder"
    return words


def composed() -> Settings:
    """Return what the forwarder makes of its environment when nobody has set more than where CDRs go."""
    return settings_from(given_by_compose(shell=TRIAL))


def pinned(lock: str) -> dict[str, Requirement]:
    lines = re.findall(r"^([a-z0-9].*?) \\$", lock, re.MULTILINE)
    return {requirement.name: requirement for requirement in map(Requirement, lines)}


REQUIRED = [
    *((LOCK, Requirement(line)) for line in PROJECT["project"]["dependencies"]),
    *((BUILD_LOCK, Requirement(line)) for line in PROJECT["build-system"]["requires"]),
]
PINNED = [(lock, name) for lock in (LOCK, BUILD_LOCK) for name in pinned(lock)]


@pytest.mark.parametrize("name", ["docker-compose.yml", "deploy/Dockerfile"])
def test_only_variables_that_there_are_are_named(name: str) -> None:
    """A variable with another name would stop the forwarder with status 2."""
    named = set(re.findall(r"CDR_[A-Z0-9_]+", (ROOT / name).read_text()))
    assert named <= variable_names().keys()


def test_the_forwarder_accepts_its_environment() -> None:
    """`docker compose up` needs no more than where CDRs go: the rest are defaults, but for Redis."""
    service, host = composed(), {"CDR_WEBHOOK_URL": "http://endpoint:9000/cdr", "CDR_REDIS_URL": "redis://redis:6379/0"}
    assert service.model_dump() == load_settings(host, dotenv=None).model_dump()


def test_nothing_is_set_that_nobody_set() -> None:
    """With CDR_WEBHOOK_URL set always, several endpoints end in status 2, and CDRs may go where nobody sent them."""
    assert given_by_compose() == {"CDR_REDIS_URL": "redis://redis:6379/0"}
    with pytest.raises(ConfigurationError, match="CDR_WEBHOOK_URL: got \\(not set\\)"):
        settings_from(given_by_compose())


def test_the_shell_stands_above_the_file() -> None:
    """For what docker-compose.yml names; a `.env` may empty it too."""
    file = "CDR_REDIS_URL=\nCDR_WEBHOOK_URL=https://a.example/\nCDR_WEBHOOK_TIMEOUT=7\n"
    given = given_by_compose(file, {"CDR_WEBHOOK_URL": "https://b.example/", "CDR_WEBHOOK_TIMEOUT": "9"})
    assert given == {"CDR_REDIS_URL": "", "CDR_WEBHOOK_URL": "https://b.example/", "CDR_WEBHOOK_TIMEOUT": "7"}


def test_it_is_given_more_time_than_its_grace() -> None:
    """Otherwise what is still being delivered would be killed, and sent again."""
    period = re.fullmatch(r"(\d+)s", FORWARDER["stop_grace_period"])
    assert period
    assert int(period[1]) > composed().shutdown_grace


def test_redis_keeps_what_it_has_and_throws_nothing_away() -> None:
    """The promise is about what Redis has; started by its health, since a loading Redis answers nothing."""
    command = " ".join(COMPOSE["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert COMPOSE["services"]["redis"]["volumes"] == ["redis-data:/data"]
    assert FORWARDER["depends_on"]["redis"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", OURS)
def test_it_has_no_more_rights_than_it_needs(name: str) -> None:
    """None, and nothing to write to."""
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_any_number_of_forwarders_may_run() -> None:
    """`--scale forwarder=3` fails on a fixed name, or a port that only one of them can have."""
    assert FORWARDER.keys().isdisjoint({"container_name", "hostname"})
    assert all(re.fullmatch(r"127\.0\.0\.1::\d+", port) for port in FORWARDER["ports"])


def test_compose_knows_every_field() -> None:
    """Docker is not here to ask, but the schema of its files is."""
    output_of(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"
    )


def test_it_is_measured_only_where_that_is_wanted() -> None:
    """`docker compose up` starts three containers, and the profile two more."""
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    watching = ["observability"]
    assert profiles == {
        **dict.fromkeys(("redis", "forwarder", "endpoint")),
        **dict.fromkeys(("prometheus", "grafana"), watching),
    }


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_nothing_is_published_beyond_this_host(name: str) -> None:
    """Docker opens what it publishes to everybody, past the firewall of the host."""
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"][name].get("ports", []))


def test_the_image_runs_the_forwarder_itself() -> None:
    """Not below a shell, which would keep SIGTERM to itself; and the health is asked of a command that there is."""
    health = re.sub(r"^(--\S+ )*CMD ", "", instruction("HEALTHCHECK"))
    assert exec_form(instruction("ENTRYPOINT")) == ["cdr-forwarder"]
    assert instruction("STOPSIGNAL") == "SIGTERM"
    program, command = exec_form(health)
    assert program == "cdr-forwarder"
    assert command in {one.callback.__name__ for one in commands.registered_commands if one.callback}


def test_the_image_can_be_asked_from_outside() -> None:
    """A process listens on loopback by default; in a container, probes and the published port would find nobody."""
    assert instruction("ENV") == "CDR_OPS_HOST=0.0.0.0"
    assert "CDR_OPS_HOST" not in FORWARDER["environment"]
    assert FORWARDER["ports"] == [f"127.0.0.1::{composed().ops_port}"]


def test_the_image_runs_as_a_user_by_number() -> None:
    """Kubernetes' runAsNonRoot cannot tell who a name is."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instruction("USER"))


def test_the_base_of_the_image_can_be_chosen() -> None:
    """Both stages must have the same, since a venv is tied to its Python."""
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


@pytest.mark.parametrize(("lock", "requirement"), REQUIRED, ids=[str(requirement) for _, requirement in REQUIRED])
def test_the_lock_fits_what_is_required(lock: str, requirement: Requirement) -> None:
    """After a change of pyproject.toml it has to be compiled again."""
    [pin] = pinned(lock)[requirement.name].specifier
    assert pin.operator == "=="
    assert requirement.specifier.contains(pin.version)


@pytest.mark.parametrize(("lock", "name"), PINNED, ids=[name for _, name in PINNED])
def test_each_package_of_a_lock_has_its_hashes(lock: str, name: str) -> None:
    """Of a wheel and of a source archive, or more: a machine of another kind may fetch another file."""
    [entry] = re.findall(rf"^{re.escape(name)}==.*\n(?:    --hash=sha256:[0-9a-f]{{64}}.*\n?)+", lock, re.MULTILINE)
    assert entry.count("--hash=sha256:") >= 2


@pytest.mark.parametrize("step", [step for step in STEPS if "/pip " in step])
def test_the_image_fetches_nothing_without_its_hash(step: str) -> None:
    """Neither what runs nor what builds it: `pip wheel` would otherwise fetch the newest backend that there is."""
    assert "--require-hashes --only-binary :all:" in step or "--no-deps" in step
    assert "--no-build-isolation" in step or " install " in step


def test_the_image_says_what_it_is() -> None:
    """Of which version, under which licence, and from which code, as far as the builder said."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', instruction("LABEL")))
    assert labels["version"] == PROJECT["project"]["version"]
    assert labels["licenses"] == PROJECT["project"]["license"]
    assert {labels["source"], labels["documentation"], labels["revision"]} == {"${SOURCE}", "${REVISION}"}


@pytest.mark.parametrize(
    "file", ["deploy/requirements.txt", "deploy/build-requirements.txt", "deploy/Dockerfile", "docker-compose.yml"]
)
def test_nothing_says_where_packages_come_from(file: str) -> None:
    """That is the business of whoever installs: a mirror in here would be used by everybody."""
    text = (ROOT / file).read_text()
    assert not re.search(
        r"--(extra-)?index-url|--find-links|--trusted-host|file:/|https?://(?!endpoint:|localhost:)", text
    )
