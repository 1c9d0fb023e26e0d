"""Hold the heart: how a CDR gets from pending to its endpoint, and what becomes of it.

    pending ──claim──► processing ──inbox──► Worker ──POST──► Settler ──outbox──► acked
       ▲                   ▲ ▲                  ▲                 │
       └── give back ──────┘ └── adopt, sweep   └─ due ─ retry ◄──┴──► dead letters

    Worker.run        wait for gate and inbox, take, attempt
    Rules.decide      ack, defer or dead letter: decided in `decision`, and nowhere else
    Settler.settle    act on the decision: a settlement into the outbox
    Claimer.run       exchanges with Redis: they settle what the outbox holds, and fill the inbox
    WaitingClaim.run  wait in Redis while nothing is pending
    Prober.run        while the breaker is open, attempt single CDRs
    Sweeper.run       strays of our processing list → inbox; over a bad link, → pending
    Adopter.run       lists of dead processes → ours
    Distribution.run  with several endpoints: source → pending of every lane

    Lane              what these loops share; LaneLoops builds and runs them for one lane
    Claimable         how much to claim, by what is known to be pending or due, and by Room
    Incoming          claims and adoptions on the wire; what they bring is not yet in InFlight
    settlements       what Redis does to ack, defer, dead-letter or give back a CDR

If the reply to a claim is lost, nobody knows what it brought. A sweep finds the claimed CDRs at once, as strays
(`Sweeper.claim_reply_lost`); those that the retry set handed out come back when their visibility ends.
It promises that a CDR is in Redis until its endpoint has answered 2xx, and that nothing is claimed or posted without a
lease. What is in flight is counted in memory: all else in our processing list is a stray.

Loops wake each other through `Signal`, workers through `Inbox`. Only a sweep waits for others: for claims and adoptions
on the wire (`Incoming`), and for the prober (`held_off`), which waits for it in the same way.
May import dead_letters, delivery, store, telemetry and config; no client of Redis or HTTP.
"""
