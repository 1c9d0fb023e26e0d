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


def test_a_cdr_that_was_accepted_before_a_rejection_does_not_look_later() -> None:
    """A first answer says that Redis' clock is 30 ms ahead, a better one that it is not: it must not go back."""
    settings = {"WEBHOOK_CONCURRENCY": "1"}
    plan = Plan(795548334327, endpoints=3, duration=200.0, mood="varied", oldest="tail", settings=settings)
    plan = plan.but(pushes=(Push(0.0, 0, TWIN), Push(0.0, 1, POISON)), disorder=0.1, redis_latency=0.03)

    result = run(plan.but(redis="7.0", patience=900.0))

    assert result.broken == ""


def test_a_list_that_had_an_owner_while_redis_was_away_is_no_old_orphan() -> None:
    """Its last look found no owner, and waited 20 s for the next: a process took the slot in between, and died."""
    times = (
        0.357,
        1.313,
        2.243,
        7.527,
        8.519,
        9.34,
        10.68,
        11.548,
        12.48,
        14.046,
        14.327,
        14.845,
        15.077,
        15.876,
        22.465,
        26.444,
        26.965,
        28.614,
        28.696,
        31.511,
        32.781,
        33.156,
        37.031,
        37.713,
        38.325,
        38.342,
        38.381,
        38.749,
        39.176,
        40.545,
        42.498,
        42.861,
        43.815,
        46.842,
        48.232,
        48.591,
        48.611,
        50.78,
        52.189,
        54.076,
    )
    numbers = (
        12,
        34,
        24,
        25,
        26,
        30,
        6,
        13,
        0,
        37,
        4,
        22,
        31,
        29,
        14,
        36,
        11,
        18,
        9,
        21,
        16,
        23,
        15,
        33,
        3,
        19,
        27,
        1,
        39,
        10,
        35,
        5,
        2,
        8,
        38,
        7,
        20,
        32,
        28,
        17,
    )
    plan = Plan(
        795548332005,
        services=3,
        endpoints=3,
        duration=70.0,
        disorder=0.5,
        mood="flaky",
        oldest="tail",
        settings={"WEBHOOK_CONCURRENCY": "1", "WEBHOOK_RATE_LIMIT": "20"},
        pushes=tuple(Push(at, number) for at, number in zip(times, numbers, strict=True)),
        faults=(
            Fault(8.5247, "kill", 29.686, 2),
            Fault(11.5887, "kill", 23.382, 1),
            Fault(11.6875, "redis restart", 24.867, 0, "0"),
            Fault(13.3582, "kill", 33.54, 2),
            Fault(39.2865, "redis restart", 20.916, 0, "0"),
            Fault(49.3313, "kill", 30.984, 2),
        ),
        redis_latency=0.03,
        redis="7.2",
    )

    result = run(plan.but(patience=900.0))

    assert result.broken == ""
