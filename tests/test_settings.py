"""Every variable: what it accepts, what it says of bad input, and that the reference holds."""

import re
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from app.errors import ConfigurationError
from app.settings import EndpointSettings, Settings, load_settings, redacted, variable_names

URL = {"CDR_WEBHOOK_URL": "http://127.0.0.1:9000/cdr"}
EXAMPLE = Path(__file__).parent.parent / ".env.example"


def load(**variables: str) -> Settings:
    return load_settings(URL | variables, dotenv=None)


def problems(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**variables)
    return list(caught.value.problems)


def documented() -> dict[str, str]:
    lines = re.findall(r"^(?:# )?(CDR_[A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    return dict(lines)


def test_the_example_is_the_reference() -> None:
    """Every variable stands in .env.example, and nothing else does."""
    assert documented().keys() == variable_names().keys()


def test_the_example_tells_the_defaults() -> None:
    """What .env.example shows as a default is what happens without it."""
    shown = documented()
    assert load(**{name: value for name, value in shown.items() if value}) == load(
        CDR_WEBHOOK_URL=shown["CDR_WEBHOOK_URL"]
    )


@pytest.mark.parametrize("name", [name for name, secret in variable_names().items() if secret])
def test_every_secret_variable_is_marked_in_the_example(name: str) -> None:
    """A reader of .env.example sees what can be read from a file."""
    before = EXAMPLE.read_text().split(f"{name}=")[0].splitlines()
    explanation = [line for line in before if line.startswith("# ") and not line.startswith(("# CDR_", "# -"))]
    assert "[secret" in [line for line in explanation if line != "# "][-1]


def test_all_problems_are_reported_at_once() -> None:
    """One line each: the variable, what it got, what it wants."""
    found = problems(CDR_LEASE="0", CDR_WEBHOOK_TIMEOUT="soon", CDR_SOURCE_OLDEST="middle", CDR_INTEGRATOR="A B")
    assert [line.split(":")[0] for line in found] == [
        "CDR_INTEGRATOR",
        "CDR_SOURCE_OLDEST",
        "CDR_WEBHOOK_TIMEOUT",
        "CDR_LEASE",
    ]
    assert "'soon'" in found[2]


def test_a_missing_url_is_named() -> None:
    """The one variable that has no default."""
    with pytest.raises(ConfigurationError, match="CDR_WEBHOOK_URL: got nothing; must be set"):
        load_settings({}, dotenv=None)


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("CDR_LEESE", "CDR_LEASE"),
        ("CDR_WEBHOOK_TIMOUT", "CDR_WEBHOOK_TIMEOUT"),
        ("CDR_WEBHOOK_NAME", "CDR_WEBHOOK_"),
        ("CDR_LEASE_FILE", "CDR_"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(unknown: str, nearest: str) -> None:
    """A typo must not silently leave a default in place."""
    (line,) = problems(**{unknown: "1"})
    assert line.startswith(f"{unknown}: there is no such variable; did you mean {nearest}")


def test_what_kubernetes_injects_is_ignored() -> None:
    """A Service called cdr-forwarder puts its own CDR_FORWARDER_* into every pod."""
    assert load(CDR_FORWARDER_PORT="tcp://10.0.0.1:80") == load()


def test_an_empty_variable_counts_as_not_set() -> None:
    """Compose passes every variable that it names."""
    assert load(CDR_LEASE="", CDR_WEBHOOK_SECRET="") == load()


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """Docker and Kubernetes hand secrets over as files, often with a line end."""
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    password = load(CDR_REDIS_PASSWORD_FILE=str(file)).redis_password
    assert password
    assert password.get_secret_value() == "s3cret"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CDR_REDIS_PASSWORD_FILE": "/does/not/exist"}, "cannot be read: No such file"),
        ({"CDR_REDIS_PASSWORD_FILE": "/etc/hostname", "CDR_REDIS_PASSWORD": "x"}, "must not stand together"),
        ({"CDR_REDIS_URL": "redis+sentinel://a:1/x"}, "must be a URL: redis://"),
        ({"CDR_WEBHOOK_URL": "ftp://host/"}, "must be a URL: http://"),
        ({"CDR_WEBHOOK_URL": "http://host:99999/"}, "must be a URL"),
        ({"CDR_WEBHOOK_HEADERS": "nope"}, "must be a JSON object"),
        ({"CDR_WEBHOOK_HEADERS": '{"a b": "c"}'}, "must be a header name"),
        ({"CDR_WEBHOOK_HEADERS": '{"a": "b\\r\\nc: d"}'}, "no line breaks"),
        ({"CDR_WEBHOOK_HEADERS": '{"Webhook-Id": "c"}'}, "that is ours"),
        ({"CDR_WEBHOOK_CONTENT_TYPE": "text/plain\r\nx: y"}, "no line breaks"),
        ({"CDR_WEBHOOK_BEARER_TOKEN": "a\nb"}, "no line breaks"),
        ({"CDR_WEBHOOK_BEARER_TOKEN": "a", "CDR_WEBHOOK_USERNAME": "b"}, "must not stand together"),
        ({"CDR_WEBHOOK_REJECT_STATUSES": "400,500"}, "less than or equal to 499"),
        ({"CDR_WEBHOOK_REJECT_STATUSES": "429"}, "not now"),
        ({"CDR_WEBHOOK_BACKOFF": "60"}, "must not be less than BACKOFF"),
        ({"CDR_WEBHOOK_KEY_FILE": "/etc/hostname"}, "set CERT_FILE too"),
        ({"CDR_WEBHOOK_CA_FILE": "/does/not/exist"}, "must be a readable file"),
        ({"CDR_WEBHOOK_SECRET": "whsec_???"}, "must be base64"),
        ({"CDR_WEBHOOK_ATTEMPTS": "0"}, "greater than or equal to 1"),
        ({"CDR_LEASE": "inf"}, "finite"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:processing:cdr"}, "the list that Enigma writes"),
    ],
)
def test_bad_input_is_named(variables: dict[str, str], said: str) -> None:
    """What is wrong, and what would be right."""
    lines = problems(**variables)
    assert any(said in line for line in lines), lines


def test_no_secret_is_shown() -> None:
    """Neither in a problem, nor in the settings themselves."""
    secret = "hunter2"
    lines = problems(
        CDR_REDIS_URL=f"ftp://user:{secret}@host/",
        CDR_WEBHOOK_URL=f"{secret}@nowhere",
        CDR_WEBHOOK_SECRET=f"{secret}!",
        CDR_WEBHOOK_HEADERS=f'["{secret}"]',
        CDR_WEBHOOK_BEARER_TOKEN=f"{secret}\n",
    )
    assert len(lines) == 5
    settings = load(
        CDR_REDIS_URL=f"redis://:{secret}@host/",
        CDR_WEBHOOK_URL=f"http://u:{secret}@host/",
        CDR_WEBHOOK_HEADERS=f'{{"x-key": "{secret}"}}',
    )
    assert not [text for text in (*lines, repr(settings), str(settings.model_dump())) if secret in text]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@host:8080/a?key=1", "http://host:8080/a?***"),
        ("redis://:p@host/0", "redis://host/0"),
        ("unix://:p@/run/redis.sock", "unix:///run/redis.sock"),
        ("p@ssword", "***"),
        ("http://[broken", "***"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    """User info and query stay out of logs and errors."""
    assert redacted(url) == shown


def test_the_environment_goes_before_the_env_file(tmp_path: Path) -> None:
    """.env is for development: what is set for real wins."""
    file = tmp_path / ".env"
    file.write_text("CDR_WEBHOOK_URL=http://from-file/\nCDR_LEASE=7\n")
    settings = load_settings({"CDR_LEASE": "9"}, dotenv=file)
    assert (settings.lease, settings.webhook.url.get_secret_value()) == (9, "http://from-file/")


def test_signing_keys_are_those_of_standard_webhooks() -> None:
    """With and without whsec_, several at once."""
    plain = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    keys = load(CDR_WEBHOOK_SECRET=f"whsec_{plain} {plain}").webhook.signing_keys
    assert keys == (Webhook(plain)._whsecret,) * 2


def test_an_endpoint_needs_no_more_than_a_url() -> None:
    """The defaults are those of the contract."""
    endpoint = EndpointSettings(url="http://127.0.0.1:1/")  # type: ignore[arg-type]
    assert (endpoint.timeout, endpoint.attempts, endpoint.concurrency) == (15, 5, 32)
