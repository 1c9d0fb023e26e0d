"""The safeguards that the simulator must miss when they are gone."""

from typing import Final

from tests.simulation.ablation import Ablation, Edit

SCRIPTS: Final = "app/store/scripts"

ABLATIONS: Final = (
    Ablation(
        "sequence",
        "sequence numbers: an ack whose reply was lost is applied again",
        (Edit(f"{SCRIPTS}/guard.lua", "  return false\nend", "end"),),
        theme="replies",
    ),
    Ablation(
        "owner",
        "the owner check: who has lost its lease goes on",
        (Edit(f"{SCRIPTS}/guard.lua", "if redis.call('GET', KEYS[1]) ~= ARGV[1] then", "if false then"),),
        theme="owners",
    ),
    Ablation(
        "two looks",
        "the second look before a list is adopted",
        (Edit("app/lane/adoption.py", "if seen - since >= self._pause", "if seen - since >= 0"),),
        theme="owners",
    ),
    Ablation(
        "in hand",
        "what a sweep knows to be in flight",
        (Edit("app/lane/intake.py", "if sweep.step(body) > in_flight.copies(body)", "if sweep.step(body) > 0"),),
    ),
    Ablation(
        "sweep after a lost reply",
        "the sweep at once after a claim whose reply was lost",
        (Edit("app/lane/intake.py", "events.claim_reply_lost(self.endpoint)\n        self.sweep.again()", "pass"),),
    ),
    Ablation(
        "no retries",
        "sending each command once",
        (Edit("app/store/connection.py", "retry=Retry(NoBackoff(), 0)", "retry=Retry(NoBackoff(), 3)"),),
        theme="replies",
    ),
    Ablation(
        "push before remove",
        "the order of moves to the dead letters",
        (
            Edit(
                f"{SCRIPTS}/bury.lua",
                "local pushed = redis.pcall('RPUSH', KEYS[5], ARGV[8])\nif failed(pushed) then return abandon(pushed) end\n"
                "local removed = redis.pcall('LREM', KEYS[3], ARGV[5], ARGV[6])",
                "local removed = redis.pcall('LREM', KEYS[3], ARGV[5], ARGV[6])\n"
                "local pushed = redis.pcall('RPUSH', KEYS[5], ARGV[8])\nif failed(pushed) then return abandon(pushed) end",
            ),
        ),
        theme="refusals",
    ),
    Ablation(
        "all lanes or none",
        "taking back what was distributed to some lanes only",
        (Edit(f"{SCRIPTS}/distribute.lua", "for j = 5, i - 1 do redis.pcall('RPOP', KEYS[j]) end", ""),),
        theme="refusals",
    ),
    Ablation(
        "memory gate",
        "the write that lets scripts through where the memory is full",
        (Edit(f"{SCRIPTS}/guard.lua", "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n", ""),),
        theme="refusals",
    ),
    Ablation(
        "lease at the claim",
        "the end of trust in one's own lease",
        (Edit("app/store/lease.py", "return self.slot is not None and time.monotonic() < self._trusted_until", "return self.slot is not None"),),
        theme="owners",
    ),
)
