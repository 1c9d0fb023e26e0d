"""Every variable: what it accepts, what it says of bad input, and that the reference holds."""

import re
from base64 import b64decode
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config.endpoint import EndpointSettings
from app.config.environment import load_settings, log_format_of, variable_names
from app.config.settings import Settings
from app.config.values import redacted
from app.errors import ConfigurationError
from app.store.keys import Topology
from tests.support.repository import EXAMPLE, ROOT, documented

URL = {"CDR_WEBHOOK_URL": "http://127.0.0.1:9000/cdr"}
PUBLIC = [".env.example", "README.md", "docker-compose.yml", "deploy/README.md", "deploy/RUNBOOK.md"]
IN_CLUSTER = {"CDR_REDIS_URL": "redis+cluster://a,b"}
OAUTH2 = {
    "CDR_WEBHOOK_OAUTH2_TOKEN_URL": "https://login.example/token",
    "CDR_WEBHOOK_OAUTH2_CLIENT_ID": "forwarder",
    "CDR_WEBHOOK_OAUTH2_CLIENT_SECRET": "s3cret",
}


def without(end: str) -> dict[str, str]:
    return {name: value for name, value in OAUTH2.items() if not name.endswith(end)}


def load(**variables: str) -> Settings:
    return load_settings(URL | variables, dotenv=None)


def problems(**variables: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**variables)
    return list(caught.value.problems)


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
    with pytest.raises(ConfigurationError, match="CDR_WEBHOOK_URL: got \\(not set\\); must be set"):
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
        ({"CDR_WEBHOOK_URL": "http://192.168.1.256/"}, "must name a host"),
        ({"CDR_WEBHOOK_URL": "http://☃/"}, "must name a host"),
        ({"CDR_WEBHOOK_URL": "http://a..b/"}, "must name a host"),
        ({"CDR_WEBHOOK_PROXY": "socks5://☃:1080"}, "must name a host"),
        ({"CDR_REDIS_URL": "redis://☃/0"}, "must name a host"),
        ({"CDR_REDIS_URL": "redis+sentinel://a,b..c/mymaster/0"}, "must name a host"),
        ({"CDR_OPS_HOST": "a..b"}, "must name a host"),
        ({"CDR_OPS_HOST": "127.0.0.256"}, "must name a host"),
        ({"CDR_LEASE": "1e306"}, "must be less than or equal to 3600"),
        ({"CDR_WEBHOOK_TIMEOUT": "1e306"}, "must be less than or equal to 86400"),
        ({"CDR_WEBHOOK_RATE_LIMIT": "1e-320"}, "must be 0, which is no limit, or at least 0.001"),
        ({"CDR_GIVE_UP_AFTER": "1e306"}, "must be less than or equal to 315360000"),
        ({"CDR_SHUTDOWN_GRACE": "1e306"}, "must be less than or equal to 86400"),
        ({"CDR_REDIS_URL": f"redis://host/{'9' * 20}"}, "number of the database"),
        ({"CDR_WEBHOOK_URL": f"http://host/{'a' * 9000}"}, "cannot be longer than 8192 characters"),
        ({"CDR_WEBHOOK_HEADERS": "[" * 20_000}, "must be a JSON object"),
        ({"CDR_WEBHOOK_HEADERS": '{"a":' * 20_000}, "must be a JSON object"),
        ({"CDR_WEBHOOK_HEADERS": '["a"]'}, "must be a JSON object"),
        ({"CDR_WEBHOOK_HEADERS": '{"Expect": "100-continue"}'}, "cannot set expect: this header is reserved"),
        ({"CDR_WEBHOOK_HEADERS": '{"a": "1", "A": "2"}'}, "cannot name a header twice"),
        ({"CDR_WEBHOOK_USERNAME": "u", "CDR_WEBHOOK_PASSWORD": "\udcff"}, "must be UTF-8"),
        ({"CDR_WEBHOOK_USERNAME": "\udcff", "CDR_WEBHOOK_PASSWORD": "p"}, "must be UTF-8"),
        ({"CDR_REDIS_PASSWORD": "\udcff"}, "must be UTF-8"),
        ({"CDR_WEBHOOK_URL": "http://host/\udcff"}, "must be UTF-8"),
        ({"CDR_WEBHOOK_URL": "http://u:%ff@host/"}, "user info in UTF-8"),
        ({"CDR_REDIS_URL": "redis://:%ff@host/0"}, "user info in UTF-8"),
        ({"CDR_REDIS_PASSWORD": "a\nb"}, "cannot contain line breaks"),
        ({"CDR_OPS_TOKEN": "é" * 16}, "it is sent as a header"),
        ({"CDR_OPS_TOKEN": "short"}, "must have at least 16 characters"),
        ({"CDR_REDIS_PASSWORD_FILE": "/dev/zero"}, "got '/dev/zero'; must be the path of a readable text file"),
        ({"CDR_REDIS_PASSWORD_FILE": "/dev"}, "it is not a regular file"),
        ({"CDR_WEBHOOK_CA_FILE": "/dev/zero"}, "must be a regular file"),
        ({"CDR_WEBHOOK_KEEP_ALIVE": "perhaps"}, "must be true or false"),
        ({"CDR_WEBHOOK_HTTP_CLIENT": "curl"}, "must be 'direct' or 'httpx'"),
        ({"CDR_WEBHOOK_CONCURRENCY": "1.5"}, "must be a whole number"),
        ({"CDR_REDIS_PASSWORD_FILE": "/does/not/exist"}, "got '/does/not/exist'; must be the path of a readable"),
        (
            {"CDR_REDIS_PASSWORD_FILE": __file__, "CDR_REDIS_PASSWORD": "x"},
            "cannot be combined with CDR_REDIS_PASSWORD",
        ),
        ({"CDR_REDIS_URL": "http://a:1/x"}, "must be a URL: redis://"),
        ({"CDR_REDIS_URL": "redis+sentinel://a:1,b:2"}, "must end in /<service>/<db>"),
        ({"CDR_REDIS_URL": "redis+sentinel://a:1,:2/x"}, "must name its hosts"),
        ({"CDR_REDIS_URL": "redis+cluster://a:1/3"}, "a cluster has one database"),
        ({"CDR_REDIS_URL": "redis+proxy://a:1/3"}, "must be like redis+sentinel://"),
        ({"CDR_REDIS_URL": "redis://me@a/0", "CDR_REDIS_USERNAME": "me"}, "cannot be combined with user info"),
        ({"CDR_REDIS_URL": "redis://:p@a/0", "CDR_REDIS_PASSWORD": "me"}, "cannot be combined with a password"),
        ({"CDR_REDIS_URL": "redis://a/0", "CDR_REDIS_CA_FILE": __file__}, "needs TLS"),
        ({"CDR_REDIS_URL": "redis://host/calls"}, "number of the database"),
        ({"CDR_REDIS_URL": "redis://host/0/1"}, "number of the database"),
        ({"CDR_REDIS_URL": "redis://host/?db=-1"}, "cannot have options other than db"),
        ({"CDR_REDIS_URL": "redis://host/0?retry_on_timeout=1"}, "cannot have options other than db"),
        ({"CDR_REDIS_URL": "redis://host/0?ssl_cert_reqs=none"}, "cannot have options other than db"),
        ({"CDR_REDIS_URL": "redis://user:12#34@host/0"}, "cannot contain spaces, control characters or #"),
        ({"CDR_WEBHOOK_URL": "http://host/a\nb"}, "cannot contain spaces, control characters or #"),
        ({"CDR_WEBHOOK_PROXY": "socks4://host:1080"}, "must be a URL: http://…, https://…, socks5://…, socks5h://…"),
        ({"CDR_WEBHOOK_URL": "ftp://host/"}, "must be a URL: http://"),
        ({"CDR_WEBHOOK_URL": "http://host:99999/"}, "must be a URL"),
        ({"CDR_WEBHOOK_HEADERS": "nope"}, "must be a JSON object"),
        ({"CDR_WEBHOOK_HEADERS": '{"a b": "c"}'}, "names that a header can have"),
        ({"CDR_WEBHOOK_HEADERS": '{"a": "b\\r\\nc: d"}'}, "cannot contain line breaks"),
        ({"CDR_WEBHOOK_HEADERS": '{"a": "b\\tc"}'}, "control or non-ASCII"),
        ({"CDR_WEBHOOK_HEADERS": '{"a": "caf\u00e9"}'}, "control or non-ASCII"),
        ({"CDR_WEBHOOK_HEADERS": '{"Webhook-Id": "c"}'}, "this header is reserved"),
        ({"CDR_WEBHOOK_HEADERS": '{"Webhook-Count": "1"}'}, "this header is reserved"),
        ({"CDR_WEBHOOK_CONTENT_TYPE": "text/plain\r\nx: y"}, "cannot contain line breaks"),
        ({"CDR_WEBHOOK_BEARER_TOKEN": "a\nb"}, "cannot contain line breaks"),
        ({"CDR_WEBHOOK_BEARER_TOKEN": "a", "CDR_WEBHOOK_USERNAME": "b"}, "cannot be combined"),
        (
            {"CDR_WEBHOOK_BEARER_TOKEN": "a", "CDR_WEBHOOK_URL": "http://b:c@host/"},
            "cannot be combined with USERNAME, PASSWORD or user info",
        ),
        ({"CDR_WEBHOOK_OAUTH2_CLIENT_ID": "a"}, "CLIENT_ID: got 'a'; needs OAUTH2_TOKEN_URL too"),
        ({"CDR_WEBHOOK_OAUTH2_CLIENT_SECRET": "a"}, "CLIENT_SECRET: got ***; needs OAUTH2_TOKEN_URL too"),
        ({"CDR_WEBHOOK_OAUTH2_SCOPE": "a"}, "needs OAUTH2_TOKEN_URL too"),
        ({"CDR_WEBHOOK_OAUTH2_AUDIENCE": "a"}, "needs OAUTH2_TOKEN_URL too"),
        (without("CLIENT_ID"), "CLIENT_ID: got (not set); must be set, since OAUTH2_TOKEN_URL is"),
        (without("CLIENT_SECRET"), "CLIENT_SECRET: got (not set); must be set, since OAUTH2_TOKEN_URL is"),
        (OAUTH2 | {"CDR_WEBHOOK_OAUTH2_TOKEN_URL": "token.example"}, "must be a URL: http://…, https://…"),
        (OAUTH2 | {"CDR_WEBHOOK_OAUTH2_TOKEN_URL": "https://a:b@host/"}, "got https://host/; cannot have user info"),
        (OAUTH2 | {"CDR_WEBHOOK_OAUTH2_CLIENT_SECRET": "a\nb"}, "got ***; cannot contain line breaks"),
        (OAUTH2 | {"CDR_WEBHOOK_OAUTH2_SCOPE": "a\nb"}, "cannot contain line breaks"),
        (OAUTH2 | {"CDR_WEBHOOK_BEARER_TOKEN": "a"}, "BEARER_TOKEN: got ***; cannot be combined with OAUTH2_TOKEN_URL"),
        (OAUTH2 | {"CDR_WEBHOOK_USERNAME": "a"}, "USERNAME: got 'a'; cannot be combined with OAUTH2_TOKEN_URL"),
        (OAUTH2 | {"CDR_WEBHOOK_URL": "http://b:c@host/"}, "_URL: got http://host/; user info cannot be combined with"),
        (
            OAUTH2 | {"CDR_WEBHOOK_HEADERS": '{"Authorization": "a"}'},
            "HEADERS: got ***; authorization cannot be combined with OAUTH2_TOKEN_URL",
        ),
        ({"CDR_WEBHOOK_PASSWORD": "a"}, "needs USERNAME too"),
        ({"CDR_WEBHOOK_USERNAME": "a:b", "CDR_WEBHOOK_PASSWORD": "c"}, "cannot contain a colon"),
        ({"CDR_WEBHOOK_REJECT_STATUSES": "400,500"}, "less than or equal to 499"),
        ({"CDR_WEBHOOK_REJECT_STATUSES": "429"}, "cannot contain 429"),
        ({"CDR_WEBHOOK_BACKOFF": "7200"}, "is 3600, and cannot be less than BACKOFF, which is 7200"),
        ({"CDR_WEBHOOK_KEY_FILE": __file__}, "needs CERT_FILE too"),
        ({"CDR_REDIS_KEY_FILE": __file__}, "needs CDR_REDIS_CERT_FILE too"),
        ({"CDR_WEBHOOK_CA_FILE": "/does/not/exist"}, "must be a readable file"),
        ({"CDR_WEBHOOK_SECRET": "whsec_???"}, "must be whsec_ and base64"),
        ({"CDR_WEBHOOK_SECRET": "c2hvcnQ="}, "at least 16 bytes"),
        ({"CDR_LEASE": "inf"}, "finite"),
        ({"CDR_NOTICE_URL": "slack"}, "CDR_NOTICE_URL: got ***; must be a URL: http://…, https://…"),
        ({"CDR_NOTICE_URL": "ftp://chat.example/x"}, "got ftp://chat.example/***; must be a URL: http://…, https://…"),
        ({"CDR_NOTICE_URL": "https://c/x", "CDR_NOTICE_SECRET": "short"}, "CDR_NOTICE_SECRET: got ***; must be whsec_"),
        ({"CDR_NOTICE_SECRET": "whsec_bXkgb3duIHNlY3JldCBmb3Igbm90aWNlcw=="}, "needs CDR_NOTICE_URL too"),
        ({"CDR_DELIVERY_LOG": "perhaps"}, "must be true or false"),
        ({"CDR_DELIVERY_LOG_FIELDS": "payload..call_ref"}, "has 'payload..call_ref': a path is names with dots"),
        ({"CDR_DELIVERY_LOG_FIELDS": "payload.call_ref,,type"}, "has '': a path is names with dots between them"),
        ({"CDR_DELIVERY_LOG_FIELDS": "payload.call ref"}, "has 'payload.call ref': a path is"),
        ({"CDR_DELIVERY_LOG_FIELDS": "payload.a\tb"}, "has 'payload.a\\tb': a path is"),
        ({"CDR_DELIVERY_LOG_FIELDS": ",".join(map(str, range(33)))}, "cannot name more than 32 fields"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:processing:cdr"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:processing:cdr:2:owner"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:crm:pending:cdr"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:scratch:list"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:retry:cdr"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:retrying:cdr"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:crm:minutes:cdr"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:processing:cdr:report"}, "the list that Enigma writes"),
        ({"CDR_SOURCE_KEY": "cdr-forwarder:dead:campaigns"}, "the list that Enigma writes"),
        (IN_CLUSTER | {"CDR_SOURCE_KEY": "{pbx}:cdr-forwarder:dead:cdr"}, "the list that Enigma writes"),
        (IN_CLUSTER | {"CDR_SOURCE_KEY": "a{}b"}, "cannot be used in a cluster"),
        (IN_CLUSTER | {"CDR_SOURCE_KEY": "{}x"}, "cannot be used in a cluster"),
        (IN_CLUSTER | {"CDR_SOURCE_KEY": "foo}bar"}, "cannot be used in a cluster"),
    ],
)
def test_bad_input_is_named(variables: dict[str, str], said: str) -> None:
    """One line for it: what is wrong, and what would be right."""
    lines = problems(**variables)
    assert any(said in line for line in lines), lines
    assert len(lines) == 1
    assert "\n" not in lines[0]


@pytest.mark.parametrize(
    "variables",
    [
        {"CDR_INTEGRATOR": "enigma"},
        {"CDR_REDIS_URL": "rediss://:p%2Fw@host:6380/3?ssl_cert_reqs=none&ssl_check_hostname=false"},
        {"CDR_REDIS_URL": "unix:///run/redis.sock?db=2"},
        {"CDR_WEBHOOK_URL": "https://user@host/cdr?tenant=1", "CDR_WEBHOOK_PASSWORD": "x"},
        {"CDR_WEBHOOK_URL": "https://münchen.example/cdr"},
        {"CDR_WEBHOOK_URL": "http://[::1]:9000/cdr"},
        {"CDR_WEBHOOK_URL": "http://cdr_receiver:9000/cdr"},
        {"CDR_WEBHOOK_PROXY": "socks5h://u:p@proxy.example:1080"},
        {"CDR_OPS_HOST": "::"},
        {"CDR_SOURCE_KEY": "a{}b"},
        IN_CLUSTER | {"CDR_SOURCE_KEY": "a{b"},
        {"CDR_WEBHOOK_CERT_FILE": __file__},
        {"CDR_WEBHOOK_HEADERS": '{"content-type": "application/cdr+json"}'},
        OAUTH2 | {"CDR_WEBHOOK_OAUTH2_SCOPE": "a b", "CDR_WEBHOOK_HEADERS": '{"x-tenant": "acme"}'},
    ],
)
def test_what_looks_odd_and_is_right_is_accepted(variables: dict[str, str]) -> None:
    """An integrator of Enigma's own name, TLS options, a certificate with its key in one file."""
    assert load(**variables) != load()


def test_a_value_that_is_wrong_twice_is_one_line() -> None:
    """The same line again would say nothing new."""
    assert len(problems(CDR_WEBHOOK_REJECT_STATUSES="200,500,600")) == 2  # too low, too high


@pytest.mark.parametrize(
    "content", [b"s3cret", b"s3cret\r\n", b"s3cret \t\n\n", b"\n\ns3cret", b"\xef\xbb\xbfs3cret\n"]
)
def test_what_editors_add_to_a_secret_is_stripped(tmp_path: Path, content: bytes) -> None:
    """A byte order mark, spaces and blank lines around it are no part of a password."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    password = load(CDR_REDIS_PASSWORD_FILE=str(file)).redis_password
    assert password is not None
    assert password.get_secret_value() == "s3cret"


def test_a_secret_of_several_lines_is_refused_and_its_file_is_named(tmp_path: Path) -> None:
    """Which of the lines is meant, nobody can tell; and what is in it is not shown."""
    file = tmp_path / "secret"
    file.write_text("s3cret\nsecond\n")
    (line,) = problems(CDR_REDIS_PASSWORD_FILE=str(file))
    assert line == f"CDR_REDIS_PASSWORD_FILE: got *** in '{file}'; cannot contain line breaks"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "it is empty"), (b"\n \n", "it is empty"), (b"\xff", "not UTF-8"), (b"x" * 70_000, "larger than 64 KiB")],
)
def test_a_secret_file_without_a_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """Otherwise an empty mount would quietly turn signatures off."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    (line,) = problems(CDR_WEBHOOK_SECRET_FILE=str(file))
    assert said in line


def test_a_secret_in_place_of_its_file_is_not_shown() -> None:
    """The likely slip: the password itself in <NAME>_FILE."""
    (line,) = problems(CDR_REDIS_PASSWORD_FILE="hunter2")
    assert line == (
        "CDR_REDIS_PASSWORD_FILE: got *** (a path begins with / or ./); "
        "must be the path of a readable text file (No such file or directory)"
    )


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
        ("http://u:p@host:8080/a?key=1", "http://host:8080/***"),
        ("redis://:p@host/0", "redis://host/***"),
        ("unix://:p@/run/redis.sock", "unix:///run/redis.sock"),
        ("p@ssword", "***"),
        ("http://[broken", "***"),
        ("http://u:pa/ss@host/", "***"),
        ("http://u:1234/ss@host/", "***"),
        ("http://u:pa#ss@host/", "***"),
        ("http://u:pa?ss@host/", "***"),
        ("http://u:pass", "***"),
        ("https://hooks.example/services/T0/B0/s3cret", "https://hooks.example/***"),
        ("https://hooks.example?s3cret", "https://hooks.example/***"),
        ("https://hooks.example/", "https://hooks.example/"),
        ("redis+sentinel://:p@a:1,b:2/mymaster/0", "redis+sentinel://a:1,b:2/***"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    """User info, path and query stay out of logs and errors."""
    assert redacted(url) == shown


def test_the_environment_goes_before_the_env_file(tmp_path: Path) -> None:
    """.env is for development: what is set for real wins."""
    file = tmp_path / ".env"
    file.write_text("CDR_WEBHOOK_URL=http://from-file/\nCDR_LEASE=7\n")
    settings = load_settings({"CDR_LEASE": "9"}, dotenv=file)
    assert (settings.lease, settings.endpoints[0].url.get_secret_value()) == (9, "http://from-file/")


def test_an_empty_variable_leaves_the_env_file_in_force(tmp_path: Path) -> None:
    """Not set is not the same as set to nothing."""
    file = tmp_path / ".env"
    file.write_text("CDR_LEASE=7\n")
    assert load_settings(URL | {"CDR_LEASE": ""}, dotenv=file).lease == 7


def test_an_env_file_is_held_to_the_same_rules(tmp_path: Path) -> None:
    """A typo there, or a file that is not text, is one more line."""
    file = tmp_path / ".env"
    file.write_text("CDR_LEESE=7\n")
    with pytest.raises(ConfigurationError, match="CDR_LEESE: there is no such variable; did you mean CDR_LEASE"):
        load_settings(URL, dotenv=file)
    file.write_bytes(b"CDR_LEASE=\xff\n")
    with pytest.raises(ConfigurationError, match=r"\.env: must be a readable text file \(it is not UTF-8\)"):
        load_settings(URL, dotenv=file)


def test_signing_keys_are_those_of_standard_webhooks() -> None:
    """With and without whsec_ and padding, several at once."""
    padded = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMQ=="
    keys = load(CDR_WEBHOOK_SECRET=f"whsec_{padded} {padded} {padded.rstrip('=')}").endpoints[0].signing_keys
    assert keys == (b64decode(padded),) * 3


@pytest.mark.parametrize("file", PUBLIC)
def test_no_secret_that_everybody_can_read_is_accepted(file: str) -> None:
    """Neither alone nor beside a good one, nor for a named endpoint; the message shows nothing of them."""
    examples = re.findall("whsec_[A-Za-z0-9+/=]{8,}", (ROOT / file).read_text())
    assert examples or file != ".env.example"
    good = "whsec_" + "a" * 44
    named = {"CDR_ENDPOINTS__CRM__URL": "https://crm.example/cdr", "CDR_ENDPOINTS__CRM__SECRET": ""}
    for example in examples:
        for given in (
            URL | {"CDR_WEBHOOK_SECRET": example},
            URL | {"CDR_WEBHOOK_SECRET": f"{good} {example.removeprefix('whsec_').rstrip('=')}"},
            named | {"CDR_ENDPOINTS__CRM__SECRET": example},
        ):
            with pytest.raises(ConfigurationError, match=r"_SECRET: got \*\*\*; is the example of the documentation"):
                load_settings(given, dotenv=None)


def test_an_endpoint_needs_no_more_than_a_url() -> None:
    """The defaults are those of the contract."""
    endpoint = EndpointSettings(url="http://127.0.0.1:1/")  # type: ignore[arg-type]
    assert (endpoint.timeout, endpoint.backoff_max, endpoint.concurrency) == (15, 3600, 32)


def test_a_setting_that_an_endpoint_does_not_have_is_refused() -> None:
    """In code as in the environment, a typo must not leave a default in place."""
    with pytest.raises(ValidationError, match="tiemout"):
        EndpointSettings(url="http://127.0.0.1:1/", tiemout=1)  # type: ignore[arg-type, call-arg]


TWO = {"CDR_ENDPOINTS__BILLING__URL": "https://billing.example/", "CDR_ENDPOINTS__CRM__URL": "https://crm.example/"}


def two(**variables: str) -> dict[str, EndpointSettings]:
    settings = load_settings(TWO | variables, dotenv=None)
    return {endpoint.name: endpoint for endpoint in settings.endpoints}


def test_each_endpoint_has_its_own_keys_and_one_alone_has_the_short_ones() -> None:
    """What was built on the short keys goes on to work for one endpoint."""
    several = Topology(load_settings(TWO | {"CDR_INTEGRATOR": "acme"}, dotenv=None).sources[0])
    assert several.lane("crm").pending == "acme:crm:pending:cdr"
    assert several.lane("crm").slot(2).processing == "acme:crm:processing:cdr:2"
    assert several.short.slot(2).processing == "acme:processing:cdr:2"
    alone = Topology(load(CDR_INTEGRATOR="acme").sources[0])
    assert alone.lane("webhook") == alone.short


def test_endpoints_share_defaults_and_may_differ() -> None:
    """CDR_WEBHOOK_<X> is for all, CDR_ENDPOINTS__<name>__<X> for one."""
    endpoints = two(CDR_WEBHOOK_TIMEOUT="9", CDR_WEBHOOK_RATE_LIMIT="5", CDR_ENDPOINTS__CRM__TIMEOUT="3")
    assert (endpoints["billing"].timeout, endpoints["crm"].timeout) == (9, 3)
    assert {endpoint.rate_limit for endpoint in endpoints.values()} == {5}


def test_a_secret_belongs_to_one_endpoint(tmp_path: Path) -> None:
    """Also from a file."""
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    endpoints = two(CDR_ENDPOINTS__CRM__BEARER_TOKEN_FILE=str(file))
    assert endpoints["billing"].bearer_token is None
    assert endpoints["crm"].bearer_token
    assert endpoints["crm"].bearer_token.get_secret_value() == "t0ken"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"CDR_WEBHOOK_URL": "http://x/"}, "CDR_WEBHOOK_URL: cannot be combined with CDR_ENDPOINTS__…"),
        ({"CDR_WEBHOOK_BEARER_TOKEN": "hidden"}, "set CDR_ENDPOINTS__BILLING__BEARER_TOKEN"),
        ({"CDR_WEBHOOK_OAUTH2_SCOPE": "cdr"}, "set CDR_ENDPOINTS__BILLING__OAUTH2_SCOPE"),
        ({"CDR_ENDPOINTS__CRM__TIMOUT": "1"}, "did you mean CDR_ENDPOINTS__CRM__TIMEOUT?"),
        ({"CDR_ENDPOINTS__CRM__TIMEOUT": "0"}, "CDR_ENDPOINTS__CRM__TIMEOUT: got '0'; must be greater"),
        ({"CDR_WEBHOOK_TIMEOUT": "0"}, "CDR_WEBHOOK_TIMEOUT: got '0'; must be greater"),
        ({"CDR_ENDPOINTS__ARCHIVE__TIMEOUT": "1"}, "CDR_ENDPOINTS__ARCHIVE__URL: got (not set); must be set"),
        ({"CDR_ENDPOINTS__A.B__URL": "http://x/"}, "CDR_ENDPOINTS__A.B__URL: got the endpoint name 'a.b'; must"),
        ({"CDR_ENDPOINTS__7__URL": "http://x/"}, "CDR_ENDPOINTS__7__URL: got the endpoint name '7'; must have"),
        (
            {"CDR_ENDPOINTS__crm__URL": "http://x/"},
            "CDR_ENDPOINTS__crm__URL: cannot be combined with CDR_ENDPOINTS__CRM",
        ),
        ({f"CDR_ENDPOINTS__{'N' * 33}__URL": "http://x/"}, "must have 1 to 32 characters"),
    ],
)
def test_what_cannot_work_with_several_endpoints_is_named(variables: dict[str, str], line: str) -> None:
    """The variable that a person wrote, not the one that it became."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(TWO | variables, dotenv=None)
    assert any(line in problem for problem in caught.value.problems), caught.value.problems
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["processing", "pending", "retry", "retrying", "dead", "minutes", "scratch", "webhook", "RETRY", "Webhook"]
)
def test_an_endpoint_cannot_have_the_name_of_a_key(name: str) -> None:
    """One line, however many of its variables are set."""
    variables = {f"CDR_ENDPOINTS__{name}__URL": "http://x/", f"CDR_ENDPOINTS__{name}__TIMEOUT": "3"}
    with pytest.raises(ConfigurationError) as caught:
        load_settings(TWO | variables, dotenv=None)
    (line,) = caught.value.problems
    assert f"got the endpoint name '{name.lower()}'; cannot be one of the reserved names" in line


def test_names_of_endpoints_are_in_lower_case() -> None:
    """However they are written, and also where one is written in two ways."""
    endpoints = two(CDR_WEBHOOK_TIMEOUT="9", CDR_ENDPOINTS__Crm__TIMEOUT="3")
    assert {name: endpoint.timeout for name, endpoint in endpoints.items()} == {"billing": 9, "crm": 3}


@pytest.mark.parametrize(
    ("variables", "weak"),
    [
        ({"CDR_REDIS_URL": "rediss://host/0?ssl_cert_reqs=none"}, True),
        ({"CDR_REDIS_URL": "rediss+sentinel://a,b/m/0?db=0&ssl_check_hostname=false"}, True),
        ({"CDR_REDIS_URL": "rediss://host/0?ssl_cert_reqs=required&ssl_check_hostname=true"}, False),
        ({}, False),
    ],
)
def test_a_redis_that_is_not_verified_is_known(variables: dict[str, str], *, weak: bool) -> None:
    """It is warned about, as TLS_VERIFY=false is."""
    assert load(**variables).sources[0].redis.trusts_any == weak


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"CDR_OPS_HOST": "0.0.0.0"}, True),
        ({"CDR_OPS_HOST": "::"}, True),
        ({"CDR_OPS_HOST": "0.0.0.0", "CDR_OPS_PORT": "0"}, False),
        ({"CDR_OPS_HOST": "127.0.0.2"}, False),
        ({"CDR_OPS_HOST": "::1"}, False),
        ({"CDR_OPS_HOST": "localhost"}, False),
        ({}, False),
    ],
)
def test_a_token_that_goes_over_a_network_is_known(variables: dict[str, str], *, shown: bool) -> None:
    """The operator server has no TLS."""
    assert load(CDR_OPS_TOKEN="token-of-sixteen-characters", **variables).shows_ops_token == shown


@pytest.mark.parametrize(
    ("variables", "form"),
    [
        ({"CDR_LOG_FORMAT": "json"}, "json"),
        ({"CDR_LOG_FORMAT": "console"}, "console"),
        ({"CDR_LOG_FORMAT": "x"}, "json"),
    ],
)
def test_the_log_format_is_known_before_the_settings_are(variables: dict[str, str], form: str) -> None:
    """So that what is wrong with them is told in it."""
    assert log_format_of(variables, dotenv=None) == form


@pytest.mark.parametrize(
    ("source", "namespace"),
    [("enigma:notifications:cdr", "{enigma:notifications:cdr}:acme"), ("{pbx}:cdr", "{pbx}:acme")],
)
def test_in_a_cluster_all_keys_share_the_slot_of_the_source(source: str, namespace: str) -> None:
    """Scripts move between them, and a source with a hash tag lends us that tag."""
    settings = load(CDR_REDIS_URL="redis+cluster://a,b:7001", CDR_INTEGRATOR="acme", CDR_SOURCE_KEY=source)
    assert Topology(settings.sources[0]).short.slot(1).processing == f"{namespace}:processing:cdr"
    assert settings.sources[0].redis.place.seeds == (("a", 6379), ("b", 7001))
