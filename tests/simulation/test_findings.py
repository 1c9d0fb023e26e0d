"""What the simulator has found: each as a run that stays."""

from tests.simulation.plan import BINARY, GOOD, POISON, TWIN, Fault, Plan, Push
from tests.simulation.world import run


def test_cdrs_that_all_endpoints_reject_do_not_stop_distribution() -> None:
    """Twelve in a row, at default settings, open every breaker; good ones follow, and must close them again."""
    plan = Plan(1, endpoints=3, duration=5.0, pushes=tuple(Push(0.0, number, POISON) for number in range(12)))

    result = run(plan)

    assert result.broken == ""


def test_a_single_rejected_cdr_is_not_probed_with_every_second() -> None:
    """One process owns all that is new; the breaker of the other must not keep the rejected one from both."""
    settings = {"WEBHOOK_BREAKER_THRESHOLD": "1", "WEBHOOK_CONCURRENCY": "2"}
    good = zip((1.343, 1.518, 2.003, 2.416, 2.838, 3.037), (10, 14, 0, 8, 12, 7), strict=True)
    pushes = (*(Push(at, number, BINARY if number == 7 else GOOD) for at, number in good), Push(3.715, 6, POISON))
    fault = Fault(3.9789, "replace", 37.272, 0, "apart")
    plan = Plan(20566, services=2, duration=5.0, settings=settings, pushes=pushes, faults=(fault,), disorder=0.1)
    plan = plan.but(redis_latency=0.002)

    result = run(plan)

    assert result.broken == ""
    assert sum("posts poison 6" in line for line in result.trace.lines()) < 20


def test_what_is_refused_stays_in_flight_though_the_reply_is_lost() -> None:
    """The right to LREM is missing, and one reply of many is lost: what was delivered is acked, not posted again."""
    kinds = ((3, TWIN), (3, TWIN), (1, TWIN), (34, GOOD), (35, GOOD), (2, TWIN), (4, TWIN), (0, TWIN), (3, TWIN))
    plan = Plan(
        51214,
        services=3,
        endpoints=3,
        duration=10.0,
        disorder=0.1,
        mood="sloppy",
        settings={"WEBHOOK_CONCURRENCY": "1"},
        pushes=tuple(Push(0.0, number, kind) for number, kind in kinds),
        faults=(Fault(0.0644, "right", 12.486, detail="lrem"),),
        packets={"cut": 0.002},
        redis_latency=0.0002,
    )

    result = run(plan)

    assert result.broken == ""


def test_a_rerouted_cdr_is_rejected_twice_by_its_new_endpoint() -> None:
    """A rejection of the former endpoint is none of the new one, where its first would be final otherwise."""
    plan = Plan(
        5,
        services=2,
        endpoints=3,
        duration=40.0,
        pushes=(Push(2.0, 71, POISON),),
        faults=(Fault(10.0, "endpoints", detail="1"),),
    )

    result = run(plan)

    assert result.broken == ""
    assert any("operator reroute moves poison 71" in line for line in result.trace.lines())


def test_a_deferred_cdr_that_is_distributed_is_rejected_twice_by_each_endpoint() -> None:
    """What the only endpoint rejected is given to several: none of them has rejected it before."""
    good = (Push(number / 2, number) for number in range(20))
    pushes = (*good, Push(2.0, 60, POISON), Push(2.5, 61, POISON))
    plan = Plan(1, duration=20.0, pushes=pushes, faults=(Fault(11.0, "endpoints", detail="2"),))

    result = run(plan)

    assert result.broken == ""
    assert any("distributes poison 60" in line for line in result.trace.lines())


def test_a_rejected_cdr_is_not_posted_again_and_again_when_the_clock_is_set_back() -> None:
    """Its first rejection is ten hours ahead then, and a pause of ten hours is longer than anybody means: due now."""
    fault = Fault(8.2491, "clock", 0.0, detail="-36000")
    plan = Plan(9, services=2, duration=40.0, pushes=(Push(8.237, 0, POISON),), faults=(fault,), patience=9000.0)

    result = run(plan.but(redis_latency=0.002))

    assert result.broken == ""
    assert sum("posts poison 0" in line for line in result.trace.lines()) < 20
