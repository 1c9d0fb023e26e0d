"""The safeguards that the simulator must miss when they are gone."""

from typing import Final

from tests.simulation.ablation import Ablation, Edit

SCRIPTS: Final = "app/store/scripts"
GUARD: Final = f"{SCRIPTS}/guard.lua"
EXCHANGE: Final = f"{SCRIPTS}/settle_and_claim.lua"
DISTRIBUTE: Final = f"{SCRIPTS}/distribute.lua"

RARE: Final = 300
"""Seeds for what a run seldom comes to: too many for CI."""

ABLATIONS: Final = (
    # Owning
    Ablation(
        "owner check",
        "FENCED for whoever has lost its lease",
        (
            Edit(
                GUARD,
                "if redis.call('GET', KEYS[1]) ~= ARGV[1] then\n  return redis.error_reply('FENCED",
                "if false then\n  return redis.error_reply('FENCED",
            ),
        ),
        theme="comes back",
    ),
    Ablation(
        "trust in the lease",
        "the end of trust in one's own lease after 0.7 of it",
        (
            Edit(
                "app/store/lease.py",
                "return self.slot is not None and time.monotonic() < self._trusted_until",
                "return self.slot is not None",
            ),
        ),
        theme="stale",
    ),
    Ablation(
        "lease at the gate",
        "the lease that each attempt needs",
        (
            Edit(
                "app/lane/worker.py",
                "if not lane.lease.holds():",
                "if False:",
            ),
        ),
        theme="stale",
    ),
    Ablation(
        "two looks",
        "the second look before a list is adopted",
        (Edit("app/lane/adopter.py", "if seen - since >= self._pause]", "if seen - since >= 0]"),),
        theme="takeovers",
    ),
    Ablation(
        "adopted from nobody",
        "the check that a list still has no owner when it is adopted",
        (Edit(f"{SCRIPTS}/adopt.lua", "if owner ~= ARGV[7] then return 0 end", ""),),
        theme="taken meanwhile",
    ),
    Ablation(
        "forgotten numbers",
        "emptying the operations of a former owner, and drawing new numbers where that did not help",
        (
            Edit(f"{SCRIPTS}/take.lua", "  redis.call('DEL', unpack(KEYS, 2))\n", ""),
            Edit("app/store/channel.py", "if was_applied_before and tries == 1:", "if False:"),
        ),
        held_by="tests/redis/test_lease.py::test_taken_after_somebody_else",
    ),
    Ablation(
        "the row is compared",
        "comparing the next of a row with the CDR that is taken out there",
        (Edit(EXCHANGE, "if redis.call('LINDEX', processing, at) ~= element then", "if marked == 0 then"),),
    ),
    # Sending
    Ablation(
        "sequence numbers",
        "knowing an operation that was applied and whose reply was lost",
        (Edit(GUARD, "  return refused_then ~= '' and refused_then\n", ""),),
        held_by="tests/redis/test_settle_and_claim.py::test_sent_again_it_does_nothing",
    ),
    Ablation(
        "alone in the list",
        "putting strays back only when nothing else can be in the list",
        (
            Edit(
                "app/lane/sweeper.py",
                "return not (self._lane.in_flight.in_processing or self._incoming)",
                "return True",
            ),
        ),
        theme="replies",
    ),
    Ablation(
        "nothing claimed meanwhile",
        "claiming nothing while strays are put back",
        (
            Edit("app/lane/sweeper.py", "0.0, math.inf, True", "0.0, math.inf, False"),
            Edit("app/lane/prober.py", "async with self._sweeper.held_off():", "if True:"),
        ),
        theme="replies",
    ),
    Ablation(
        "no retries",
        "sending each command once",
        (Edit("app/store/connection.py", "retry=Retry(NoBackoff(), 0)", "retry=Retry(NoBackoff(), 3)"),),
        held_by="tests/redis/test_link.py::test_a_command_whose_reply_is_lost_is_not_sent_again",
    ),
    Ablation(
        "no late replies",
        "closing a connection whose reply did not come in time",
        (
            Edit(
                "app/store/channel.py",
                "                await self.disconnect()\n        return reply",
                "                pass\n        return reply",
            ),
        ),
        theme="delays",
    ),
    # Sweeping
    Ablation(
        "known: in flight",
        "what a sweep knows to be in flight",
        (Edit("app/lane/in_flight.py", "known = Counter(self._copies)", "known: Counter[bytes] = Counter()"),),
    ),
    Ablation(
        "known: what joins",
        "what joins while a sweep reads its page",
        (Edit("app/lane/in_flight.py", "            watcher[cdr.body] += 1", "            pass"),),
    ),
    Ablation(
        "known: on the way",
        "waiting for claims that are on their way before strays are told",
        (Edit("app/lane/sweeper.py", "await self._incoming.ended()", "pass"),),
        held_by="tests/redis/test_loops.py::test_sweep_during_a_claim_whose_answer_is_on_its_way",
    ),
    Ablation(
        "sweep after a lost reply",
        "the sweep at once after a claim whose reply was lost",
        (
            Edit(
                "app/lane/sweeper.py",
                "        events.claim_reply_lost(self._lane.source, self._lane.endpoint)\n        self.soon()",
                "        events.claim_reply_lost(self._lane.source, self._lane.endpoint)",
            ),
        ),
        held_by="tests/process/test_lost_replies.py::test_a_claim_whose_reply_is_lost_is_looked_for_at_once",
    ),
    Ablation(
        "refused stays in flight",
        "keeping in flight what Redis refuses to settle",
        (
            Edit(
                "app/lane/claimer.py",
                "                self._lane.outbox.refuse(parcel)",
                "                self._lane.in_flight.remove(parcel.cdr)",
            ),
        ),
        theme="refusals",
    ),
    # Moving
    Ablation(
        "push before remove",
        "the order of a settlement: pushed where it goes, then taken out",
        (
            Edit(
                EXCHANGE,
                "  if to ~= '' then\n"
                "    local added = push[to](pushed, delay)\n"
                "    if failed(added) then return added.err end\n"
                "    if added == 0 then return 0 end\n"
                "  end\n"
                "  local removed = take_out(from, to, element)\n",
                "  local removed = take_out(from, to, element)\n"
                "  if to ~= '' and removed == 1 then\n"
                "    local added = push[to](pushed, delay)\n"
                "    if failed(added) then return added.err end\n"
                "  end\n",
            ),
        ),
        held_by="tests/redis/test_half_way.py::test_an_exit_is_undone_where_it_cannot_be_removed",
    ),
    Ablation(
        "undo: nothing to take out",
        "taking a push back where there was nothing to take out",
        (
            Edit(
                EXCHANGE,
                "if to ~= '' and (failed(removed) or removed == 0) then undo",
                "if to ~= '' and failed(removed) then undo",
            ),
        ),
        theme="two hands",
    ),
    Ablation(
        "undo: refused",
        "taking a push back where taking out was refused, and the trial before it",
        (
            Edit(
                EXCHANGE,
                "if to ~= '' and (failed(removed) or removed == 0) then undo",
                "if to ~= '' and removed == 0 then undo",
            ),
            Edit(EXCHANGE, "    local refusal = refused_on(scratch, places[to].removing)\n", "    local refusal\n"),
        ),
        theme="refusals",
    ),
    Ablation(
        "trial of removing rights",
        "trying the removing commands before the first push",
        (Edit(EXCHANGE, "    local refusal = refused_on(scratch, places[to].removing)\n", "    local refusal\n"),),
        theme="refusals",
    ),
    Ablation(
        "NX",
        "a push to the retry set that adds nothing is refused",
        (
            Edit(
                EXCHANGE,
                "redis.pcall('ZADD', retry, 'NX', now + delay, element)",
                "redis.pcall('ZADD', retry, now + delay, element)",
            ),
            Edit(EXCHANGE, "    if added == 0 then return 0 end\n", ""),
        ),
        held_by="tests/redis/test_settle_and_claim.py::test_give_back_of_a_retried_one_whose_visibility_ended",
    ),
    Ablation(
        "all lanes or none",
        "taking back what was distributed to some lanes only",
        (
            Edit(
                DISTRIBUTE,
                "    if failed(reply) then return refuse(reply) end\n",
                "    if failed(reply) then return reply.err end\n",
            ),
        ),
        theme="refused in the middle",
    ),
    Ablation(
        "distributed and not taken out",
        "taking back what was distributed and could not be taken out, and the trial before it",
        (
            Edit(
                DISTRIBUTE,
                "  if failed(removed) then return refuse(removed) end\n",
                "  if failed(removed) then return removed.err end\n",
            ),
            Edit(DISTRIBUTE, "if missing then return redis.error_reply(missing) end\n", ""),
        ),
        held_by="tests/redis/test_half_way.py::test_all_pushes_are_taken_back_where_it_cannot_be_removed",
    ),
    Ablation(
        "memory gate",
        "the write that lets scripts through where the memory is full",
        (Edit(GUARD, "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n", ""),),
        theme="refusals",
    ),
    # Deferring
    Ablation(
        "visibility",
        "hiding what is handed out from others",
        (
            Edit(
                EXCHANGE,
                "hand_refusal = move(member, retry, retrying, now + ARGV[9]) or ''",
                "hand_refusal = move(member, retry, retrying, now) or ''",
            ),
        ),
        theme="endpoints",
    ),
    Ablation(
        "end of visibility",
        "taking back what was handed out to a process that died",
        (Edit(EXCHANGE, "  for _ = 1, 64 do\n", "  for _ = 1, 0 do\n"),),
        theme="dies with some in hand",
    ),
    Ablation(
        "members in hand",
        "ignoring a member that is in hand already",
        (Edit("app/lane/lane.py", " if not self.in_flight.has_member(member)]", "]"),),
        theme="clock forward",
    ),
    Ablation(
        "visible for the whole attempt",
        "posting a deferred CDR only while its visibility outlasts the attempt",
        (
            Edit(
                "app/lane/worker.py",
                "while (cdr := lane.inbox.take()) and time.monotonic() + lane.timeout > cdr.visible_until:",
                "while (cdr := lane.inbox.take()) and False:",
            ),
        ),
        theme="paced",
    ),
    Ablation(
        "horizon",
        "scores that nobody can have meant are due now",
        (
            Edit(
                EXCHANGE,
                "return first or redis.call(",
                "return first or false and redis.call(",
            ),
        ),
        theme="clock back",
    ),
    Ablation(
        "two rejections",
        "the second rejection that a dead letter needs",
        (
            Edit(
                "app/lane/decision.py",
                "return before.first_rejected_at > 0 and self._until_second_counts(before, now) <= 0",
                "return True",
            ),
        ),
        theme="endpoints",
    ),
    Ablation(
        "a minute between rejections",
        "the minute between the two rejections of a dead letter",
        (
            Edit(
                "app/lane/decision.py",
                "return before.first_rejected_at > 0 and self._until_second_counts(before, now) <= 0",
                "return before.first_rejected_at > 0",
            ),
            Edit(
                "app/lane/decision.py",
                "max(self._backoff(history), self._until_second_counts(history, now))",
                "self._backoff(history)",
            ),
        ),
        theme="endpoints",
    ),
    Ablation(
        "strike",
        "others that are accepted while a CDR is rejected",
        (
            Edit(
                "app/lane/decision.py",
                "case Kind.REJECTED if strike and self._is_second_rejection(before, now):",
                "case Kind.REJECTED if self._is_second_rejection(before, now):",
            ),
        ),
        theme="storms",
    ),
    # Batches
    Ablation(
        "no strike for a batch",
        "that a batch which fails is neither a rejection nor a strike of its CDRs",
        (
            Edit("app/lane/batch_settler.py", "replace(verdict, kind=Kind.TRANSIENT)", "replace(verdict)"),
            Edit(
                "app/lane/batch_settler.py",
                "decisions = self._rules.defer_together(cdrs, failed, lane.clock.now())",
                "now = lane.clock.now()\n"
                "        decisions = [\n"
                "            self._rules.decide(cdr, failed, now, strike=lane.gate.is_strike(cdr)) for cdr in cdrs\n"
                "        ]",
            ),
        ),
        theme="one in ten",
    ),
    Ablation(
        "halving",
        "that what has failed shares smaller batches",
        (Edit("app/delivery/batch_size.py", "max(1, self._cdrs >> attempts)", "self._cdrs"),),
        theme="one in ten",
    ),
    Ablation(
        "equal attempts",
        "that only CDRs with equal attempts share a batch",
        (Edit("app/lane/batch_inbox.py", "if cdr.history.attempts == attempts and self", "if self"),),
        held_by="tests/unit/lane/test_batch_inbox.py::test_only_those_with_equal_attempts_share_one",
    ),
    Ablation(
        "no breaker for CDRs",
        "that answers about CDRs to batches open no breaker",
        (
            Edit(
                "app/lane/batch_settler.py",
                "if verdict.kind is not Kind.REJECTED and verdict.status != HTTPStatus.INTERNAL_SERVER_ERROR:",
                "if True:",
            ),
        ),
        held_by="tests/process/test_batches.py::test_a_batch_whose_answers_are_about_cdrs_opens_no_breaker",
    ),
    Ablation(
        "alone if it is no JSON",
        "that what is not strict JSON shares no batch",
        (
            Edit("app/lane/batch_inbox.py", "if most == 1 or not self.form.takes(batch[0].body):", "if most == 1:"),
            Edit("app/lane/batch_inbox.py", "== attempts and self.form.takes(cdr.body):", "== attempts:"),
        ),
        theme="batches",
    ),
    Ablation(
        "what a 413 has taught",
        "remembering for an hour that batches were too large",
        (Edit("app/lane/batch_settler.py", "            self._size.too_large(len(message.body))", "            pass"),),
        held_by="tests/process/test_batches.py::test_what_a_413_has_taught",
    ),
    Ablation(
        "visible for the whole batch",
        "posting deferred CDRs in a batch only while their visibility outlasts the attempt",
        (Edit("app/lane/batch_worker.py", "if ours := self._visible(batch):", "if ours := batch:"),),
        theme="paced batches",
    ),
    Ablation(
        "lease before a batch",
        "the lease that each attempt of a batch needs",
        (
            Edit(
                "app/lane/batch_worker.py",
                "if not lane.lease.holds():",
                "if False:",
            ),
        ),
        theme="stale batches",
    ),
    # Breaker
    Ablation(
        "probe turns",
        "the deferred CDR that is tried when a new one has failed as probe",
        (Edit("app/lane/prober.py", "(another := await self._earliest_deferred(cdr))", "(another := None)"),),
        theme="behind bad ones",
    ),
    Ablation(
        "a probe for a shut lane",
        "distributing one CDR to a lane that is shut and has nothing to probe with",
        (Edit(DISTRIBUTE, "if mode == 'probe' and waiting == 0", "if mode == 'never' and waiting == 0"),),
        theme="all rejected",
    ),
)
