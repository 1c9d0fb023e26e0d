"""Look-ups that hang, fail and change."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from app.delivery.resolver import Address, Resolver
from tests.support.harness import eventually


def address(number: int) -> Sequence[Address]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{number}", 443))]


class Names:
    """A DNS server that answers what it is told, when it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Sequence[Address] | OSError] = {}
        self.hanging: set[str] = set()
        self.goes_on = threading.Event()

    def look_up(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        if host in self.hanging:
            self.goes_on.wait(20)
        found = self.answers.get(host, socket.gaierror(socket.EAI_NONAME, "unknown"))
        if isinstance(found, OSError):
            raise found
        return found


async def test_an_answer_is_used_for_a_while() -> None:
    """Connections that are made together do not ask one by one."""
    names = Names()
    names.answers["crm"] = address(1)
    resolver = Resolver(names.look_up)
    assert await asyncio.gather(*(resolver.addresses("crm", 443) for _ in range(5))) == [address(1)] * 5
    assert await resolver.addresses("crm", 443) == address(1)
    assert names.asked == ["crm"]


async def test_a_new_answer_counts_once_the_old_one_is_not_fresh() -> None:
    """A receiver that moves is followed."""
    names = Names()
    names.answers["crm"] = address(1)
    resolver = Resolver(names.look_up, fresh=0)
    await resolver.addresses("crm", 443)
    names.answers["crm"] = address(2)
    assert await resolver.addresses("crm", 443) == address(2)


async def test_doubt_ends_the_use_of_an_answer() -> None:
    """Where none of the addresses could be connected to, DNS is asked again at once."""
    names = Names()
    names.answers["crm"] = address(1)
    resolver = Resolver(names.look_up)
    await resolver.addresses("crm", 443)
    resolver.doubt("crm", 443)
    resolver.doubt("unknown", 443)
    await resolver.addresses("crm", 443)
    assert names.asked == ["crm", "crm"]


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_AGAIN, "later"), OSError(24, "too many open files")])
async def test_the_last_good_answer_is_used_while_look_ups_fail(error: OSError) -> None:
    """DNS that is down does not stop deliveries to a receiver that is up."""
    names = Names()
    names.answers["crm"] = address(1)
    resolver = Resolver(names.look_up, fresh=0)
    await resolver.addresses("crm", 443)
    names.answers["crm"] = error
    assert await resolver.addresses("crm", 443) == address(1)


async def test_the_last_good_answer_is_used_while_a_look_up_hangs() -> None:
    """One look-up waits; nobody waits for it for long, and it is not asked again meanwhile."""
    names = Names()
    names.answers["crm"] = address(1)
    resolver = Resolver(names.look_up, fresh=0, patience=0.05)
    await resolver.addresses("crm", 443)
    names.hanging.add("crm")
    async with asyncio.timeout(5):
        assert await asyncio.gather(*(resolver.addresses("crm", 443) for _ in range(9))) == [address(1)] * 9
    assert len(names.asked) == 2
    names.goes_on.set()


async def test_a_name_that_hangs_holds_no_other_up() -> None:
    """Each name is looked up in a thread of its own, once at a time, however often it is asked for and given up."""
    names = Names()
    dead = [f"dead-{number}" for number in range(40)]
    names.hanging.update(dead)
    names.answers["crm"] = address(1)
    resolver = Resolver(names.look_up)
    for _ in range(3):
        given_up = [asyncio.create_task(resolver.addresses(host, 443)) for host in dead]
        async with asyncio.timeout(5):
            assert await resolver.addresses("crm", 443) == address(1)
        for task in given_up:
            task.cancel()
        await asyncio.wait(given_up)
    assert sorted(names.asked) == sorted(["crm", *dead])
    names.goes_on.set()


async def test_a_name_without_an_address() -> None:
    """Everybody who asked is told; the next one asks again."""
    names = Names()
    resolver = Resolver(names.look_up)
    found = await asyncio.gather(*(resolver.addresses("crm", 443) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [socket.gaierror] * 3
    names.answers["crm"] = address(1)
    assert await resolver.addresses("crm", 443) == address(1)


@pytest.mark.parametrize("host", ["", "a..b", "x" * 300, "nobody.invalid"])
async def test_what_is_no_name_has_no_address(host: str) -> None:
    """The system's ways to say so are one error."""
    with pytest.raises(socket.gaierror):
        await Resolver().addresses(host or "\0", 443)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_is_not_looked_up(host: str) -> None:
    """DNS has no part in it."""
    names = Names()
    found = await Resolver(names.look_up, fresh=0).addresses(host, 443)
    assert [entry[4][:2] for entry in found] == [(host, 443)]
    assert not names.asked


async def test_an_answer_after_the_end_of_its_loop_is_dropped() -> None:
    """Nobody waits any more, and no thread dies of it."""
    names = Names()
    names.hanging.add("crm")
    resolver = Resolver(names.look_up)

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolver.addresses("crm", 443), 0.01)

    await asyncio.to_thread(asyncio.run, ask())
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "look-up of crm")
    names.goes_on.set()
    await eventually(lambda: not thread.is_alive())


def test_a_stop_does_not_wait_for_a_look_up() -> None:
    """A process ends at once, whatever hangs in DNS."""
    program = (
        "import asyncio, time\n"
        "from app.delivery.resolver import Resolver\n"
        "async def main():\n"
        "    asyncio.ensure_future(Resolver(lambda host, port: time.sleep(60)).addresses('crm', 443))\n"
        "    await asyncio.sleep(0.01)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
