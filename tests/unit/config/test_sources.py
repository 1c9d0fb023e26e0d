"""Several sources: what each is made of, and what is said of those that cannot work."""

from pathlib import Path

import pytest

from app.config.environment import load_settings
from app.config.redis_url import same_database
from app.config.settings import Settings
from app.config.source import Source
from app.errors import ConfigurationError
from app.store.keys import Topology

URL = {"CDR_WEBHOOK_URL": "http://127.0.0.1:9000/cdr"}
TWO_ENDPOINTS = {"CDR_ENDPOINTS__BILLING__URL": "https://b.example/", "CDR_ENDPOINTS__CRM__URL": "https://c.example/"}
CALLS = {"CDR_SOURCES__CALLS__KEY": "enigma:notifications:cdr"}
CAMPAIGNS = {"CDR_SOURCES__CAMPAIGNS__KEY": "enigma:notifications:campaigns"}


def load(variables: dict[str, str]) -> Settings:
    return load_settings(variables, dotenv=None)


def sources(variables: dict[str, str]) -> dict[str, Source]:
    return {source.name: source for source in load(variables).sources}


def problems(variables: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(variables)
    return list(caught.value.problems)


def test_without_names_there_is_one_source() -> None:
    """It is called cdr, and has the Redis and the endpoints that there are."""
    (only,) = load(URL | {"CDR_SOURCE_KEY": "calls", "CDR_SOURCE_OLDEST": "tail"}).sources
    assert (only.name, only.key, only.oldest) == ("cdr", "calls", "tail")
    assert [endpoint.name for endpoint in only.endpoints] == ["webhook"]
    assert only.redis.shown_url == "redis://localhost:6379/***"


def test_each_source_has_its_own_list_end_redis_and_endpoints() -> None:
    """What one does not say is head, the common Redis, and all endpoints."""
    found = sources(
        TWO_ENDPOINTS
        | CALLS
        | CAMPAIGNS
        | {
            "CDR_SOURCES__CAMPAIGNS__OLDEST": "tail",
            "CDR_SOURCES__CAMPAIGNS__REDIS_URL": "redis://me:pass@dialler/3",
            "CDR_SOURCES__CAMPAIGNS__ENDPOINTS": " CRM ",
            "CDR_REDIS_PASSWORD": "of-the-other",
        }
    )
    calls, campaigns = found["calls"], found["campaigns"]
    assert (calls.oldest, campaigns.oldest) == ("head", "tail")
    assert [one.name for one in calls.endpoints] == ["billing", "crm"]
    assert [one.name for one in campaigns.endpoints] == ["crm"]
    assert calls.redis.password
    assert (campaigns.redis.password, campaigns.redis.url_variable) == (None, "CDR_SOURCES__CAMPAIGNS__REDIS_URL")
    assert campaigns.redis.place.url == "redis://me:pass@dialler/3"


def test_a_redis_url_comes_from_a_file(tmp_path: Path) -> None:
    """It may hold a password."""
    file = tmp_path / "url"
    file.write_text("redis://:secret@dialler/0\n")
    campaigns = sources(URL | CAMPAIGNS | {"CDR_SOURCES__CAMPAIGNS__REDIS_URL_FILE": str(file)})["campaigns"]
    assert campaigns.redis.place.url == "redis://:secret@dialler/0"


def test_a_ca_may_be_for_the_redis_of_a_source_alone() -> None:
    """One without TLS has no use for it."""
    tls = {"CDR_SOURCES__CAMPAIGNS__REDIS_URL": "rediss://dialler/0", "CDR_REDIS_CA_FILE": __file__}
    assert sources(URL | CAMPAIGNS | tls)["campaigns"].redis.ca_file == Path(__file__)


def test_keys_end_in_the_name_of_the_source() -> None:
    """Also those that carry the name of an endpoint."""
    alone = Topology(sources(URL | CALLS | {"CDR_INTEGRATOR": "acme"})["calls"])
    assert alone.short.slot(2).processing == "acme:processing:calls:2"
    assert alone.lane("webhook").pending == "enigma:notifications:cdr"
    several = Topology(sources(TWO_ENDPOINTS | CALLS | {"CDR_INTEGRATOR": "acme"})["calls"])
    assert several.lane("crm").pending == "acme:crm:pending:calls"
    assert several.lane("crm").slot(2).owner == "acme:processing:calls:2:owner"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"CDR_SOURCES__A__OLDEST": "head"}, "CDR_SOURCES__A__KEY: got (not set); must be set"),
        ({"CDR_SOURCES__A__KEY": "cdr-forwarder:retry:a"}, "CDR_SOURCES__A__KEY: got 'cdr-forwarder:retry:a'; must be"),
        ({"CDR_SOURCES__calls__OLDEST": "middle"}, "CDR_SOURCES__calls__OLDEST: got 'middle'; must be 'head' or"),
        (
            {"CDR_SOURCES__CALLS__ENDPOINTS": "crm,bi"},
            "got 'crm,bi'; must name endpoints that there are: billing, crm (not bi)",
        ),
        ({"CDR_SOURCES__CALLS__ENDPOINTS": "crm, CRM"}, "got 'crm, CRM'; cannot name crm twice"),
        ({"CDR_SOURCES__CALLS__ENDPOINTS": ","}, "got ','; must be names of endpoints"),
        ({"CDR_SOURCES__A__KEY": "enigma:notifications:cdr"}, "cannot be the list of source CALLS too, on the same"),
        (
            {
                "CDR_SOURCES__A__KEY": "enigma:notifications:cdr",
                "CDR_SOURCES__A__REDIS_URL": "redis://:hidden@127.0.0.1",
            },
            "CDR_SOURCES__A__KEY: got 'enigma:notifications:cdr'; cannot be the list of source CALLS too",
        ),
        ({"CDR_SOURCE_KEY": "calls"}, "CDR_SOURCE_KEY: cannot be combined with CDR_SOURCES__…"),
        ({"CDR_SOURCE_OLDEST": "tail"}, "set CDR_SOURCES__CALLS__OLDEST"),
        (
            {"CDR_SOURCES__CALLS__REDIS_URL": "redis://me:hidden@host/x"},
            "CDR_SOURCES__CALLS__REDIS_URL: got redis://host/***; must end in the number of the database",
        ),
        ({"CDR_SOURCES__CALLS__KEI": "x"}, "CDR_SOURCES__CALLS__KEI: there is no such variable; did you mean CDR_SO"),
        (
            {"CDR_SOURCES__A.B__KEY": "x"},
            "CDR_SOURCES__A.B__KEY: got the source name 'a.b'; must have 1 to 32 characters",
        ),
        ({"CDR_SOURCES__7__KEY": "x"}, "CDR_SOURCES__7__KEY: got the source name '7'; must have 1 to 32 characters"),
        ({f"CDR_SOURCES__{'n' * 33}__KEY": "x"}, "must have 1 to 32 characters"),
        ({"CDR_SOURCES__Calls__KEY": "x"}, "CDR_SOURCES__Calls__KEY: cannot be combined with CDR_SOURCES__CALLS__KEY"),
        ({"CDR_SOURCES__CALLS__REDIS_URL_FILE": "/none"}, "CDR_SOURCES__CALLS__REDIS_URL_FILE: got '/none'; must be"),
        (
            {"CDR_SOURCES__CALLS__REDIS_URL": "redis+cluster://a", "CDR_SOURCES__CALLS__KEY": "a{}b"},
            "CDR_SOURCES__CALLS__KEY: got 'a{}b'; cannot be used in a cluster",
        ),
    ],
)
def test_what_cannot_work_is_named(variables: dict[str, str], line: str) -> None:
    """One line, with the variable that a person wrote, and no secret."""
    found = problems(TWO_ENDPOINTS | CALLS | variables)
    assert len(found) == 1
    assert line in found[0]
    assert "hidden" not in found[0]


@pytest.mark.parametrize(
    "name",
    [
        *("processing", "pending", "retry", "retrying", "dead", "minutes", "scratch", "operations", "webhook"),
        *("RETRY", "Webhook"),
    ],
)
def test_a_source_cannot_have_the_name_of_a_key(name: str) -> None:
    """One line, however many of its variables are set."""
    (line,) = problems(URL | {f"CDR_SOURCES__{name}__KEY": "x", f"CDR_SOURCES__{name}__OLDEST": "tail"})
    assert f"got the source name '{name.lower()}'; cannot be one of the reserved names" in line


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("redis://localhost:6379/0", "redis://127.0.0.1", True),
        ("redis://a/0", "redis://user:password@A:6379/0?db=0", True),
        ("redis://a/0", "redis://a/0?db=1", False),
        ("redis://a/0", "redis://a:6380/0", False),
        ("redis://a/0", "redis://b/0", False),
        ("unix:///run/redis", "unix:///run/redis?db=0", True),
        ("unix:///run/redis?db=1", "unix:///run/redis", False),
        ("redis+sentinel://a,b/main/0", "redis+sentinel://b,c/main", True),
        ("redis+sentinel://a,b/main/0", "redis+sentinel://a,b/other/0", False),
        ("redis+cluster://a", "redis+cluster://b,a", True),
    ],
)
def test_urls_of_one_database_are_known(one: str, other: str, *, same: bool) -> None:
    """However they are written, as far as they say it themselves."""
    assert same_database(one, other) is same


def test_a_list_of_another_database_is_another_list() -> None:
    """Enigma's names are the same on every server."""
    both = CALLS | {"CDR_SOURCES__B__KEY": "enigma:notifications:cdr", "CDR_SOURCES__B__REDIS_URL": "redis://b/1"}
    assert sources(URL | both).keys() == {"calls", "b"}
