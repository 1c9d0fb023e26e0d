"""Read from a Redis URL where the master is."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlsplit

Host = tuple[str, int]

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_PORTS: Final = {"sentinel": 26379, "cluster": 6379}
SEVERAL: Final = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?:(?P<user_info>[^@/]*)@)?(?P<hosts>[^@/?]+)"
    r"(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
PATHS: Final = {
    "sentinel": (re.compile(r"/(?P<service>[^/]+)(?:/(?P<db>[0-9]+)?)?"), "/<service>/<db>, as in …:26379/mymaster/0"),
    "cluster": (re.compile(r"(?P<service>)/?(?P<db>0)?"), "nothing or /0: a cluster has one database"),
}


@dataclass(frozen=True)
class RedisPlace:
    """Says where the master is. `url`: the server to ask first; `seeds`: whom to ask for the master, and how."""

    url: str
    kind: str = "plain"
    seeds: tuple[Host, ...] = ()
    service: str = ""


def place_of(url: str) -> RedisPlace:
    """Read redis[s]+sentinel:// and redis[s]+cluster://; any other URL names one server. Raises ValueError."""
    if "+" not in url.partition("://")[0]:
        return RedisPlace(url)
    found = SEVERAL.fullmatch(url)
    if not found:
        raise ValueError("must be like redis+sentinel://host:port,host:port/<service>/<db>, or redis+cluster://…")
    path, wanted = PATHS[found["kind"]]
    details = path.fullmatch(found["path"] or "")
    if not details:
        raise ValueError(f"must end in {wanted}")
    seeds = tuple(_host(text, DEFAULT_PORTS[found["kind"]]) for text in found["hosts"].split(","))
    user_info = f"{found['user_info']}@" if found["user_info"] else ""
    query = f"?{found['query']}" if found["query"] else ""
    first = f"[{seeds[0][0]}]" if ":" in seeds[0][0] else seeds[0][0]
    one = f"{found['scheme']}://{user_info}{first}:{seeds[0][1]}/{details['db'] or 0}{query}"
    return RedisPlace(one, found["kind"], seeds, details["service"])


def _host(text: str, default_port: int) -> Host:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0:
        raise ValueError("must name its hosts as host:port,host:port")
    return parts.hostname, parts.port or default_port


def same_database(one: str, other: str) -> bool:
    """Tell whether two URLs lead to the same keys, as far as they say it themselves. Raises ValueError."""
    these, those = place_of(one), place_of(other)
    if (these.kind, these.service, _database(these)) != (those.kind, those.service, _database(those)):
        return False
    return bool(_servers(these) & _servers(those))


def _database(place: RedisPlace) -> int:
    parts = urlsplit(place.url)
    path = "" if parts.scheme == "unix" else parts.path.strip("/")
    return int(dict(parse_qsl(parts.query)).get("db", path) or 0)


def _servers(place: RedisPlace) -> set[Host]:
    parts = urlsplit(place.url)
    if parts.scheme == "unix":
        return {(parts.path, 0)}
    here = (parts.hostname or "", parts.port or DEFAULT_PORTS["cluster"])
    return {("localhost" if host in LOOPBACK else host.lower(), port) for host, port in place.seeds or (here,)}


def hash_tag(key: str) -> str:
    """Return the part of a key that decides its slot in a cluster: the text in its first braces, or all of it."""
    tagged = re.search(r"\{([^}]+)\}", key)
    return tagged[1] if tagged and key.index("{") == tagged.start() else key
