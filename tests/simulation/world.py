"""One run: whole services, a Redis, endpoints and a network in one loop, hurt as the plan says, under the laws."""

import asyncio
import contextlib
import gc
import io
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import structlog

from app.cdr import webhook_id
from app.config.environment import load_settings
from app.config.settings import Settings
from app.config.timings import Timings
from app.service import Service
from tests.simulation.endpoint import PORT as HTTP
from tests.simulation.endpoint import Endpoint, Request
from tests.simulation.keys import Layout
from tests.simulation.ledger import ONLY, LawBrokenError, Ledger, Member
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import OUTSIDE, Network
from tests.simulation.operator import carry_out
from tests.simulation.plan import DEFERRED, MOODS, Plan, Push, is_bad
from tests.simulation.process import PROCESS, Process
from tests.simulation.redis.engine import Changes
from tests.simulation.redis.server import Client, RedisServer
from tests.simulation.trace import Trace
from tests.simulation.virtual import EPOCH, virtual
from tests.simulation.weather import SimulatedWeather
from tests.support.members import members_of

LONG_LIST: Final = 4
"""CDRs in a processing list, so that both ways of taking them out are met."""

INTEGRATOR: Final = "cdr-forwarder"
SOURCE: Final = "enigma:notifications:cdr"
REDIS_HOST: Final = "10.0.0.1"
HOSTS: Final = {ONLY: "10.0.2.9", "e0": "10.0.2.1", "e1": "10.0.2.2", "e2": "10.0.2.3"}

TRICKLE: Final = 15.0
"""Seconds between two times that good CDRs are pushed while something still waits: a strike needs others."""
LOOK: Final = 1.0
FAREWELL: Final = 60.0

HECTIC: Final = 400
HECTIC_SECONDS: Final = 10
"""More commands a second than this, for so many seconds in which no CDR moves: something turns in a circle."""


@dataclass
class Result:
    """`broken` is the law and what broke it; empty where all held."""

    plan: Plan
    law: str
    broken: str
    steps: int
    seconds: float
    digest: str
    trace: Trace
    happened: Counter[str]
    mattered: Counter[str]
    requests: int = 0


@dataclass(eq=False)
class Replica:
    """A place for a service; the process in it changes when it is killed and started again."""

    number: int
    process: Process | None = None
    incarnations: int = 0
    settings: Settings | None = None
    is_told_to_stop: bool = False
    statuses: list[int] = field(default_factory=list)


def run(plan: Plan) -> Result:
    """Run a plan from its begin to the end of everything, or to the first broken law."""
    world = World(plan)
    with _quiet(world):
        with virtual(world.loop, plan.seed):
            world.run()
        result = world.result()
        world.dispose()
    return result


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.trace = Trace()
        self.happened: Counter[str] = Counter()
        self.mattered: Counter[str] = Counter()
        self.weather = SimulatedWeather(self, plan, Random(f"weather {plan.seed}"))
        self.network = Network(Random(f"network {plan.seed}"), self.weather)
        self.loop = SimulatedLoop(Random(f"order {plan.seed}"), self.network, plan.disorder)
        self.loop.on_error = self._on_error
        self.peaceful = False
        self.swamped = False
        self.stopping = False
        self.error: BaseException | None = None
        self.settings = load_settings(_variables(plan, plan.endpoints), dotenv=None)
        self.judged: Counter[str] = Counter()
        """How many requests each endpoint has had in each mood."""
        self.to_be_met: list[tuple[str, Callable[[], bool]]] = []
        """Faults that matter if something has met them in the end."""
        self.redis = self._start_redis()
        self.ledger = Ledger(Layout(INTEGRATOR, SOURCE), self.redis.engine, self.trace, self.loop.time)
        self.endpoints = [self._start_endpoint(name) for name in _every_name(plan)]
        self.moods = {one.name: plan.mood for one in self.endpoints}
        self.poison = Random(f"poison {plan.seed}")
        self.replicas = [Replica(number) for number in range(plan.services)]
        self.requests = 0
        self._trickled = 0
        self._to_push = len(plan.pushes)
        self._ends_at = 0.0
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # The course of a run.

    def run(self) -> None:
        from tests.simulation.faults import begin  # noqa: PLC0415 - the two know each other

        for replica in self.replicas:
            self.start(replica)
        for push in self.plan.pushes:
            self.trace.names.setdefault(push.body, push.name)
            self.at(push.at, self.push, push)
        for fault in self.plan.faults:
            self.at(fault.at, begin, self, fault)
        self.at(self.plan.duration, self._end_faults)
        self.at(LOOK, self._turns_in_no_circle, 0, 0)
        try:
            self.loop.run_forever()
        except LawBrokenError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whatever the loop raises is a finding
            self.error = error

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        self.loop.call_at(when, what, *args, context=OUTSIDE.copy())

    def after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        self.at(self.loop.time() + seconds, what, *args)

    def note(self, text: str) -> None:
        self.trace.note(self.loop.time(), text)

    def push(self, push: Push) -> None:
        """Push as Enigma does, once Redis takes it."""
        if (
            not self.redis.process.alive
            or self.redis.process.frozen
            or self.redis.engine.read_only
            or self.redis.engine.full
        ):
            self.after(0.5, self.push, push)
            return
        self.trace.names.setdefault(push.body, push.name)
        if push.kind == DEFERRED:
            now = b"%d" % self.redis.engine.now()
            reply = self.redis.local(b"ZADD", f"{INTEGRATOR}:retry:cdr".encode(), now, push.member)
        else:
            name = b"RPUSH" if self.plan.oldest == "head" else b"LPUSH"
            reply = self.redis.local(name, SOURCE.encode(), push.body)
        if isinstance(reply, int):
            self._to_push -= 1
        else:
            self.after(0.5, self.push, push)

    def _end_faults(self) -> None:
        from tests.simulation.faults import end_all  # noqa: PLC0415 - likewise

        self.peaceful = True
        self.note("all faults end")
        end_all(self)
        self._ends_at = self.loop.time() + self.plan.patience
        self.after(LOOK, self._look, 0)

    def _look(self, looks: int) -> None:
        """Look whether all is done; while something waits, some good CDRs now and then go by."""
        waiting = self.ledger.waiting()
        if self.swamped and all(map(is_bad, _payloads(waiting))):
            self.swamped = self.redis.engine.full = False
        if not waiting and not self._to_push:
            self._stop_all()
        elif self.loop.time() > self._ends_at:
            told = ", ".join(f"{counter.total()} in {place}" for place, counter in waiting.items())
            raise LawBrokenError("stuck", f"{self.plan.patience:.0f} s after the last fault there are still {told}")
        else:
            self._no_good_one_waits(waiting)
            self._renew_services()
            if looks % int(TRICKLE / LOOK) == int(TRICKLE / LOOK) - 1:
                self.reroute()
                for _ in range(self._trickle()):
                    self._trickled += 1
                    self._to_push += 1
                    self.push(Push(0.0, 1_000_000 + self._trickled))
            self.after(LOOK, self._look, looks + 1)

    def _trickle(self) -> int:
        """Return how many good ones go by: no more than one process alone may post, which may claim them all."""
        rate = float(self.plan.settings.get("WEBHOOK_RATE_LIMIT", 0))
        number = 2 * len(self.replicas)
        return min(number, max(1, int(rate * TRICKLE / 2))) if rate else number

    def _turns_in_no_circle(self, served: int, hectic: int) -> None:
        rests = self.ledger.moved_at < self.loop.time() - LOOK
        hectic = hectic + 1 if rests and self.redis.served - served > HECTIC * LOOK else 0
        if hectic >= HECTIC_SECONDS:
            raise LawBrokenError("busy", f"{self.redis.served - served} commands in the last second, and no CDR moved")
        self.after(LOOK, self._turns_in_no_circle, self.redis.served, hectic)

    def _no_good_one_waits(self, waiting: dict[str, Counter[bytes]]) -> None:
        plan = self.plan
        if plan.good_within and self.loop.time() > plan.duration + plan.good_within:
            good = {push.body for push in plan.pushes if not is_bad(push.body)}
            for place, counter in waiting.items():
                if late := good & counter.keys():
                    told = ", ".join(self.trace.name(payload) for payload in sorted(late))
                    raise LawBrokenError("stuck", f"{plan.good_within:.0f} s after the last fault {told} in {place}")

    def _stop_all(self) -> None:
        self.stopping = True
        for replica in self.replicas:
            if replica.process:
                replica.process.signal(signal.SIGTERM)
        self._ends_at = self.loop.time() + FAREWELL
        self.after(LOOK, self._judge)

    def _judge(self) -> None:
        """Look at what must be true in the end."""
        if any(replica.process is not None for replica in self.replicas):
            if self.loop.time() > self._ends_at:
                raise LawBrokenError("stop", f"a service has not ended {FAREWELL:.0f} s after SIGTERM")
            self.after(LOOK, self._judge)
            return
        for pool in self.ledger.pools.values():
            for payload in pool.arrived:
                self.ledger.not_lost(pool, payload)
        for endpoint, letters in self.ledger.dead().items():
            for payload in letters:
                if not is_bad(payload) and not self._may_reject_good(endpoint):
                    raise LawBrokenError("dead letter", f"{self.trace.name(payload)} is a dead letter of {endpoint}")
        self.loop.stop()

    def _may_reject_good(self, endpoint: str) -> bool:
        """Tell whether an endpoint rejected good CDRs while, or before and after, it accepted others."""
        name = [one.name for one in self.endpoints].index(endpoint)
        faults = self.plan.faults
        moves = any(fault.kind == "endpoints" for fault in faults)  # one endpoint's letters are given to another
        moods = [fault.detail for fault in faults if fault.kind == "mood" and (moves or fault.target == name)]
        return "half-wrong" in moods or moods.count("wrong") > 1

    def _on_error(self, message: str, error: BaseException | None) -> None:
        """A law, a service or the loop has broken inside a callback."""
        if self.error is None and not self.loop.closing:
            self.error = error or RuntimeError(message)
            self.loop.stop()

    def result(self) -> Result:
        error = self.ledger.broken or self.error
        law = error.law if isinstance(error, LawBrokenError) else "crashed"
        self.mattered.update(kind for kind, is_met in self.to_be_met if is_met())
        self.to_be_met.clear()
        self.trace.note(self.loop.time(), f"{self.loop.steps} steps; {self.requests} requests")
        return Result(
            self.plan,
            law if error else "",
            f"{type(error).__name__}: {error}" if error and law == "crashed" else str(error or ""),
            self.loop.steps,
            self.loop.time(),
            self.trace.digest(),
            self.trace,
            self.happened,
            self.mattered,
            self.requests,
        )

    def dispose(self) -> None:
        """Free what is left, without a word from half-finished coroutines."""
        self.loop.closing = True
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            self.loop.close()
            gc.collect()
        finally:
            sys.unraisablehook = hook

    # Services.

    def add_replica(self) -> None:
        if not self.stopping:
            self.replicas.append(Replica(len(self.replicas)))
            self.start(self.replicas[-1])

    def start(self, replica: Replica) -> None:
        replica.incarnations += 1
        name = "ABCDEFGH"[replica.number] + "'" * (replica.incarnations - 1)
        process = replica.process = Process(name, f"10.0.1.{replica.number + 1}")
        settings = replica.settings = self.settings
        replica.is_told_to_stop = False
        self.ledger.members[process] = Member(
            "service",
            tuple(one.name for one in settings.endpoints),
            settings.fans_out,
            settings.lease,
            sum(one.concurrency for one in settings.endpoints),
        )
        self.note(f"{name} starts")
        self.loop.create_task(self._serve(replica, process, settings), context=process.context())

    async def _serve(self, replica: Replica, process: Process, settings: Settings) -> None:
        status = await Service(settings, Timings(long_list=LONG_LIST)).run()
        replica.statuses.append(status)
        self.note(f"{process.name} has ended with {status}")
        if status:
            self.ledger.excuse()  # an attempt was cut off
        self.loop.kill(process)
        if replica.process is process:
            replica.process = None
            if not self.stopping and (self.peaceful or replica.settings is not self.settings):
                self.start(replica)

    def kill(self, replica: Replica, *, vanishes: bool) -> None:
        if replica.process is not None:
            self.loop.kill(replica.process, vanishes=vanishes)
            replica.process = None

    # Endpoints that come and go.

    @property
    def names(self) -> list[str]:
        """Those that are configured now."""
        return [one.name for one in self.settings.endpoints]

    def configure(self, endpoints: int) -> None:
        """Let every service that starts from now on have so many endpoints, and start all of them again."""
        if endpoints != len(self.settings.endpoints):
            self.settings = load_settings(_variables(self.plan, endpoints), dotenv=None)
            self._renew_services()

    def _renew_services(self) -> None:
        for replica in self.replicas:
            if replica.process is None or replica.settings is self.settings or replica.is_told_to_stop:
                continue
            if signal.SIGTERM in replica.process.signal_handlers:
                replica.is_told_to_stop = True
                replica.process.signal(signal.SIGTERM)

    def left_over(self) -> list[str]:
        """Return the endpoints that are no longer configured, and still have CDRs."""
        return [name for name in self.ledger.lanes() if name not in self.names]

    def reroute(self) -> None:
        """Move what such an endpoint has to one that is configured."""
        for name in self.left_over()[:1]:
            self.operate("reroute", f"{name} {self.names[0]}")

    def operate(self, name: str, argument: str) -> None:
        process = Process(f"operator {name}", "10.0.3.1")
        self.ledger.members[process] = Member(name)

        async def work() -> None:
            wrong = await carry_out(name, self.settings, argument)
            self.note(f"{process.name}: {wrong or 'done'}")
            self.loop.kill(process)

        self.loop.create_task(work(), context=process.context())

    # Redis and endpoints.

    def _start_redis(self) -> RedisServer:
        process = Process("redis", REDIS_HOST)
        major, minor = map(int, self.plan.redis.split("."))
        return RedisServer(self.network, process, self._on_unit, lambda: EPOCH + self.loop.time(), (major, minor))

    def _on_unit(self, client: Client, args: list[bytes], changes: Changes) -> None:
        self.ledger.on_unit(client, args, changes)

    def restart_redis(self, lose: int) -> None:
        lost = self.redis.restart(Process("redis", REDIS_HOST), lose)
        self.ledger.forget(len(lost))
        self.note(f"Redis is up again, without its last {len(lost)} writes")

    def _start_endpoint(self, name: str) -> Endpoint:
        process = Process(name, HOSTS[name])
        chance = Random(f"endpoint {name} {self.plan.seed}")
        return Endpoint(
            name,
            self.network,
            process,
            chance,
            lambda body, headers: self._read(name, body, headers),
            lambda request: self._judge_request(name, request),
            self._on_request,
            self._on_delivered,
            lambda endpoint, request: self.ledger.on_closed(endpoint.name, request),
        )

    def _judge_request(self, name: str, request: Request) -> str:
        plan, is_batch = self.plan, len(request.cdrs) > 1
        if is_batch and 0 < plan.most_bytes < len(request.body):
            return "413"
        if any(map(is_bad, request.cdrs)):
            return plan.spoils if is_batch else "400"
        mood = "good" if self.peaceful else self.moods[name]
        self.judged[f"{name} {mood}"] += 1
        endpoint = next(one for one in self.endpoints if one.name == name)
        weights = MOODS[mood]
        (answer,) = endpoint.chance.choices(list(weights), list(weights.values()))
        return answer

    def _on_request(self, endpoint: Endpoint, request: Request, answer: str) -> None:
        self.requests += 1
        names = self._names_of(request)
        who = request.process.name if request.process else "?"
        self.note(f"{who} posts {names} to {endpoint.name}, attempt {request.headers.get('webhook-attempt')}: {answer}")
        self.ledger.on_answer(endpoint.name, request, answer)

    def _on_delivered(self, endpoint: Endpoint, request: Request) -> None:
        who = request.process.name if request.process else "?"
        self.note(f"{who} hears that {self._names_of(request)} is delivered to {endpoint.name}")
        self.ledger.on_closed(endpoint.name, request)
        for cdr in request.cdrs:
            self.ledger.on_delivered(endpoint.name, cdr)

    def _names_of(self, request: Request) -> str:
        return ", ".join(map(self.trace.name, request.cdrs))

    def _read(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, ...]:
        """Return the CDRs of a POST, under the laws of batches."""
        settings = self.settings.endpoints[0]
        try:
            members = members_of(body, headers, settings.batch_format)
        except (AssertionError, ValueError) as error:
            raise LawBrokenError("batch", f"{endpoint} got what is no batch: {error}") from error
        if any(member.webhook_id != webhook_id(member.cdr) for member in members):
            raise LawBrokenError("bytes", f"{endpoint} got other bytes than were pushed")
        most = max(1, settings.batch_size >> (members[0].attempt - 1))
        if len(members) > most or (len(members) > 1 and len(body) > settings.batch_bytes):
            raise LawBrokenError("batch", f"{endpoint} got {len(members)} CDRs at once, in {len(body)} bytes")
        if "webhook-count" in headers:
            self.happened[f"batch of {'one' if len(members) == 1 else 'several'}"] += 1
        return tuple(member.cdr for member in members)


def _payloads(waiting: dict[str, Counter[bytes]]) -> Iterator[bytes]:
    for counter in waiting.values():
        yield from counter


def _every_name(plan: Plan) -> list[str]:
    """Return the names of all endpoints that are ever configured, those of the begin first."""
    numbers = [plan.endpoints, *(int(fault.detail) for fault in plan.faults if fault.kind == "endpoints")]
    return list(dict.fromkeys(name for number in numbers for name in _names(number)))


def _names(number: int) -> list[str]:
    return [ONLY] if number == 1 else [f"e{n}" for n in range(number)]


def _variables(plan: Plan, endpoints: int) -> dict[str, str]:
    variables = {
        "CDR_REDIS_URL": f"redis://{REDIS_HOST}:6379/0",
        "CDR_INTEGRATOR": INTEGRATOR,
        "CDR_SOURCE_KEY": SOURCE,
        "CDR_SOURCE_OLDEST": plan.oldest,
        "CDR_OPS_PORT": "0",
        "CDR_LOG_FORMAT": "json",
        **{f"CDR_{name}": value for name, value in plan.settings.items()},
    }
    if endpoints == 1:
        return variables | {"CDR_WEBHOOK_URL": f"http://{HOSTS[ONLY]}:{HTTP}/"}
    return variables | {f"CDR_ENDPOINTS__{name}__URL": f"http://{HOSTS[name]}:{HTTP}/" for name in _names(endpoints)}


@contextlib.contextmanager
def _quiet(world: World) -> Iterator[None]:
    """Put events into the trace, and print nothing."""

    def note(_: object, __: str, event: Any) -> Any:
        if world.loop.closing:
            raise structlog.DropEvent
        process = PROCESS.get()
        event.pop("exc_info", None)
        said = ", ".join(f"{name}={value}" for name, value in event.items() if name not in ("event", "advice"))
        world.note(f"    {process.name if process else '?'} says {event['event']}: {said}")
        raise structlog.DropEvent

    configured = structlog.get_config()
    structlog.configure(
        processors=[note], wrapper_class=structlog.make_filtering_bound_logger(20), cache_logger_on_first_use=False
    )
    collects = gc.isenabled()
    gc.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        structlog.configure(**configured)
        if collects:
            gc.enable()
