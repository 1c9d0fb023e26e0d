"""The receivers of deploy/receivers/: they verify, store each CDR once, and answer 2xx only for what is stored."""

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from app.cdr import webhook_id
from tests.support.batches import FORMATS, content_type, envelope
from tests.support.forwarder import numbered
from tests.support.harness import eventually, gone
from tests.support.postgresql import PostgreSql
from tests.support.site import LANGUAGES, SECRET, Site, answer, signed
from tests.support.world import World

CDR: Final = '{"type": "cdr", "payload": {"call_ref": "c2d-1", "contact_ref": "Zoë"}}'
OTHER: Final = "whsec_" + base64.b64encode(b"a key of somebody else..").decode()
TOO_LARGE: Final = 4 * 1024 * 1024 + 1
MEMBERS: Final = (
    CDR.encode(),
    b'{"id": "cdr_0123456789abcdef0123456789abcdef", "cdr": [{"\\\\\\"]": "},{[\\u00e9"}, -1.0e+2, null]}',
    b'{"text": "' + b"\\n" * 200_000 + b'"}',
)
ODD: Final = (b"", b"\xff\xfe not UTF-8", b"two\nlines\xe2\x80\xa8", b"x" * 2**20)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    """One server for all tests of a worker; it takes seconds to make one."""
    with PostgreSql() as server:
        yield server


@pytest.fixture(params=[*LANGUAGES, "postgresql"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Each of them in turn, with a second secret that is about to replace the first one."""
    new = base64.b64encode(b"the next key of this site").decode().rstrip("=")
    database = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    if database:
        database.query("DROP TABLE IF EXISTS cdr")
    receiver = Site(request.param, tmp_path, f"whsec_{new} {SECRET}", database)
    await receiver.start()
    yield receiver
    await receiver.kill()


async def accepts(site: Site, webhook_id: str) -> bool:
    return await answer(site, signed(webhook_id, CDR), CDR) == 204


async def stores(site: Site, number: int) -> None:
    """Wait until so many are stored."""
    await eventually(lambda: len(site.stored()) >= number)


async def test_it_believes_nobody_without_a_good_signature(site: Site) -> None:
    """Of its own key, over this id, this time and these bytes, and not older than five minutes."""
    good = signed("cdr_1", CDR)
    bad = {
        "unsigned": {name: value for name, value in good.items() if name != "webhook-signature"},
        "without an id": {name: value for name, value in good.items() if name != "webhook-id"},
        "by another key": signed("cdr_1", CDR, OTHER),
        "over other bytes": signed("cdr_1", CDR + " "),
        "of another CDR": good | {"webhook-id": "cdr_2"},
        "of another version": good | {"webhook-signature": good["webhook-signature"].replace("v1,", "v1a,")},
        "too old": signed("cdr_1", CDR, age=400),
        "too new": signed("cdr_1", CDR, age=-400),
        "at no time": good | {"webhook-timestamp": "now"},
    }
    answers = {case: await answer(site, headers, CDR) for case, headers in bad.items()}
    assert answers == dict.fromkeys(bad, 401)
    assert site.stored() == []


async def test_it_stores_a_cdr_once(site: Site) -> None:
    """However often it comes; one good signature among others will do, as while a secret is changed."""
    several = signed("cdr_1", CDR, OTHER)["webhook-signature"] + " v1,Zm9v "
    for _ in range(3):
        headers = signed("cdr_1", CDR)
        headers["webhook-signature"] = several + headers["webhook-signature"]
        assert await answer(site, headers, CDR) == 204
    assert site.stored() == [("cdr_1", CDR.encode())]


async def test_it_refuses_what_is_no_cdr(site: Site) -> None:
    """Too large a body with 413, which makes a dead letter of it; and what is no POST."""
    body = "x" * TOO_LARGE
    assert await answer(site, signed("cdr_1", body), body) == 413
    assert await answer(site, signed("cdr_1", body[1:]), body[1:]) == 204
    assert [webhook_id for webhook_id, _ in site.stored()] == ["cdr_1"]


async def test_it_answers_2xx_only_for_what_is_on_disk(site: Site) -> None:
    """With a full disk, or no database, it is 5xx, and the forwarder keeps the CDR; afterwards it is stored."""
    assert await answer(site, signed("cdr_1", CDR), CDR) == 204
    site.break_store()
    assert await answer(site, signed("cdr_2", CDR), CDR) == 503
    site.mend_store()
    await eventually(lambda: accepts(site, "cdr_2"))
    assert await answer(site, signed("cdr_3", CDR), CDR) == 204
    assert site.stored() == [(name, CDR.encode()) for name in ("cdr_1", "cdr_2", "cdr_3")]


@pytest.mark.parametrize("format_name", FORMATS)
async def test_it_stores_each_cdr_of_a_batch_once(site: Site, format_name: str) -> None:
    """With its own bytes and id, although one came alone before, and although two of the batch are twins."""
    write = FORMATS[format_name]
    headers = {"content-type": content_type(format_name), "webhook-count": str(len(MEMBERS) + 1)}
    assert await answer(site, signed(webhook_id(MEMBERS[2]), MEMBERS[2].decode()), MEMBERS[2]) == 204
    for cdrs in ([*MEMBERS, MEMBERS[0]], [MEMBERS[1], *MEMBERS]):
        body = write(cdrs)
        assert await answer(site, signed("batch_1", body.decode()) | headers, body) == 204
    assert sorted(site.stored()) == sorted((webhook_id(cdr), cdr) for cdr in MEMBERS)


async def test_it_stores_nothing_of_a_batch_that_is_not_whole(site: Site) -> None:
    """One that ends too soon, or holds fewer CDRs than its sender says."""
    whole = envelope(MEMBERS).decode()
    for body in (whole[:-1], whole[:-2], "[", ""):
        assert await answer(site, signed("batch_1", body) | {"webhook-count": "3"}, body) == 400
    assert await answer(site, signed("batch_1", whole) | {"webhook-count": "4"}, whole) == 400
    assert await answer(site, signed("batch_1", whole, OTHER), whole) == 401
    assert site.stored() == []


async def test_a_batch_is_stored_as_a_whole_or_answered_5xx(site: Site) -> None:
    """And none of it is missing when it comes again."""
    body = envelope(MEMBERS)
    headers = signed("batch_1", body.decode())
    site.break_store()
    assert await answer(site, headers, body) == 503
    site.mend_store()

    async def comes_again() -> bool:
        return await answer(site, headers, body) == 204

    await eventually(comes_again)
    assert sorted(site.stored()) == sorted((webhook_id(cdr), cdr) for cdr in MEMBERS)


async def test_each_cdr_is_stored_once_whoever_is_killed(site: Site, world: World) -> None:
    """First the forwarder dies again and again in the midst of deliveries, then the receiver; each was pushed twice."""
    bodies = [*numbered(world.integrator, 200), *ODD]
    for body in (*bodies, *bodies):
        await world.redis.rpush(world.source, body)
    limited = world.with_variables(webhook_url=site.url, webhook_secret=SECRET, webhook_rate_limit="300", lease="0.7")
    forwarder = await limited.start()
    for deaths in range(1, 5):
        await stores(site, 40 * deaths)
        if deaths <= 2:  # a forwarder that dies with retried CDRs in hand would keep them for half a minute
            await forwarder.kill()
            forwarder = await limited.start()
        else:
            await site.kill()
            await site.start()
    lists = [f"{world.integrator}:processing:cdr{number}" for number in ("", *(f":{slot}" for slot in range(2, 9)))]
    await eventually(lambda: gone(world.redis, world.source, *lists, world.retry, world.retrying))
    assert sorted(site.stored()) == sorted((webhook_id(body), body) for body in bodies)
