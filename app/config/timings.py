"""Hold every duration and size that is not a setting, in one value that is passed in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Holds durations in seconds, sizes in bytes or CDRs. Only tests pass other values than these."""

    # Redis
    claim_wait: float = 2.0
    """How long a claim waits in Redis. If its client has vanished, a CDR that it claims is lost for no longer."""
    reply_patience: float = 5.0
    """A reply that makes no progress for so long is lost."""
    shortest_pause: float = 0.02
    longest_pause: float = 2.0
    """Between two tries of a command that Redis could not answer."""
    command_patience: float = 10.0
    """How long an operator's command tries: long enough for a failover or a restart."""
    operator_pause: float = 5.0
    """Between two tries of what a person must repair first."""
    master_look: float = 1.0

    # Claiming
    channels: int = 32
    """Exchanges with Redis at once: on a link that loses packets, a late reply delays only its own CDRs."""
    exchange_cdrs: int = 256
    exchange_bytes: int = 1024 * 1024
    in_flight_bytes: int = 32 * 1024 * 1024
    long_list: int = 1000
    """A processing list that is longer is not searched for each CDR."""
    worth_a_round_trip: int = 64
    """This many CDRs are sent or claimed at once; fewer if the last one was `ripening` ago."""
    ripening: float = 0.005
    prefetch: int = 8192
    """CDRs claimed ahead of a free worker, at most."""
    most_at_work: int = 100_000
    """CDRs that workers may hold, where each takes many."""
    late: float = 0.1
    """If claims take longer than this while workers have nothing to do, more are sent beside them."""
    plenty: float = 10.0
    """If no worker was idle for so long, less is claimed ahead."""
    short_hold: float = 5.0
    """If a hold is longer, CDRs that were claimed and not attempted are given back."""

    # The retry set
    visibility: float = 30.0
    """Added to twice the timeout of an attempt: how long no other process gets a CDR that was handed out."""
    horizon: float = 600.0
    """A CDR that is due later than twice this, or twice the longest backoff, is due now."""
    between_rejections: float = 60.0
    """Shortest time between the two rejections of a dead letter; longest backoff while no other CDR was accepted."""
    least_attempts: int = 10
    """Before a CDR is given up."""

    # Batches
    smaller_batches: float = 3600.0
    """How long the smaller size is remembered that a 413 has taught."""

    # Breaker
    first_probe: float = 1.0
    longest_probe: float = 60.0
    gone_probe: float = 3600.0

    # OAuth 2.0
    token_pause: float = 1.0
    longest_token_pause: float = 30.0
    """Between two requests for a token while the token server fails."""
    token_replaced: float = 10.0
    """If an endpoint answers 401 to a token, another one is asked for at most this often."""

    # Recovering
    page: int = 256
    adopted: int = 256
    put_back: int = 1000
    strays_wait: float = 30.0
    """On a link that loses most replies, strays are put back after so long at the latest."""

    # Distribution
    distributed: int = 250
    most_pending: int = 1000
    full_pause: float = 0.02
    idle_pause: float = 0.5

    # Telling
    reminder: float = 600.0
    """After so long, an error that lasts is told again."""
    look: float = 60.0
    """Between two looks at other processes and integrators."""
    sample: float = 5.0
    expiry_look: float = 3600.0
    """Between two looks for dead letters that are past their age."""
    failing: float = 60.0
    """After so long without a 2xx, failures are an outage."""
    stuck: float = 30.0
    """A loop that gives no heartbeat for so long is stuck. A claimer gives one every second, whatever it waits for."""

    overview: float = 2.0
    """Between two looks at what all processes report, while somebody asks for it."""
    overview_wait: float = 1.0
    """How long an answer waits for such a look; then it tells what was seen before."""

    probe_wait: float = 25.0
    """How long an answer waits for the end of a probe that was asked for."""

    # The operator server, which strangers may reach
    connections: int = 64
    head_bytes: int = 16 * 1024
    body_bytes: int = 64 * 1024
    head_wait: float = 15.0
    """Until the end of a head, since the connection was opened or the last answer was sent."""
    body_wait: float = 10.0
    answer_wait: float = 30.0
    guess_pause: float = 1.0
    """Before the answer to a wrong token."""
    guess_queue: float = 5.0
    """How long a token waits at most because of wrong ones before it."""
    scan_queue: float = 2.0
    """How long a caller without token waits while another one reads dead letters."""
    letters_at_once: int = 500
    """Dead letters per request; the answer then asks for another request."""
    notice_pause: float = 60.0
    """Between two notices of one kind about one endpoint, or one Redis."""
    notice_hour: float = 3600.0
    """Between two notices of dead letters of one endpoint."""
    notice_wait: float = 2.0
    """Before the second try of a notice; twice as long before the third."""
    notice_farewell: float = 1.0
    """How long a stop waits for the last notices."""

    complaint_pause: float = 60.0
    """Between two lines about what the operator server refused, or an endpoint rejected."""
