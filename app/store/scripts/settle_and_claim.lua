-- Settles what was delivered or has failed, then hands out deferred CDRs and claims new ones.
--   KEYS[3] processing   KEYS[4] pending   KEYS[5] retry   KEYS[6] retrying   KEYS[7] dead
--   KEYS[8] scratch: a key that never exists
--   ARGV[5] oldest end of pending (LEFT|RIGHT)   ARGV[6] how many to claim   ARGV[7] how many bytes at most
--   ARGV[8] how many deferred ones to hand out   ARGV[9] for how many ms they are not visible to others
--   ARGV[10] SHA-1 of a CDR not to hand out, or 'due': only those that are due
--   ARGV[11] scores so far ahead (ms) are due now: nobody meant them
--   ARGV[12] a processing list that is longer is not searched for each CDR
--   ARGV[13] number of settlements; then for each: from, to, element, what to push, delay in ms
--     from: 'processing' | 'retry' (whichever set holds it) | 'hand' (only while it is handed out)
--     to:   ''  (acked) | 'retry' | 'dead' | 'pending' (given back to the oldest end)
-- Answers {now in ms, ms until the next deferred one is due or -1, refusal of claiming or '', refusal of handing
--   out or '', {for each settlement 1, 0 where there was nothing to take out, or what refused it},
--   {claimed CDR, ...}, {member handed out, ...}, number pending, number deferred}.
local processing, pending, retry, retrying, dead, scratch = unpack(KEYS, 3, 8)
local oldest = ARGV[5]
local refused = wrong_type(processing, 'list')
if refused then return refused end
local now = now_ms()
begin()

local function why(key, wanted)
  local found = wrong_type(key, wanted)
  return found and found.err
end

-- What each place that CDRs are pushed to must be, and the commands that take them out there or undo a push.
local LREM, ZREM = {'LREM', scratch, 1, ''}, {'ZREM', scratch, ''}
local places = {
  retry = {types = {[retry] = 'zset', [retrying] = 'zset'}, removing = {LREM, ZREM}},
  dead = {types = {[dead] = 'list'}, removing = {LREM, ZREM, {'RPOP', scratch}}},
  pending = {types = {[pending] = 'list'}, removing = {LREM, {oldest == 'LEFT' and 'LPOP' or 'RPOP', scratch}}},
}

-- Returns what refuses every push to a place; false where nothing does. Asked before the first push.
local blocked = {[''] = false}
local function is_blocked(to)
  if blocked[to] == nil then
    local refusal = refused_on(scratch, places[to].removing)
    for key, wanted in pairs(places[to].types) do refusal = refusal or why(key, wanted) end
    blocked[to] = refusal or false
  end
  return blocked[to]
end

local push = {
  retry = function(element, delay) return redis.pcall('ZADD', retry, 'NX', now + delay, element) end,
  dead = function(element) return redis.pcall('RPUSH', dead, element) end,
  pending = function(element) return redis.pcall(oldest == 'LEFT' and 'LPUSH' or 'RPUSH', pending, element) end,
}
local undo = {
  retry = function(element) redis.pcall('ZREM', retry, element) end,
  dead = function() redis.pcall('RPOP', dead) end,
  pending = function() redis.pcall(oldest == 'LEFT' and 'LPOP' or 'RPOP', pending) end,
}

-- A long list is not searched for each CDR: those of a batch were claimed one after the other, so the next one stands
-- behind the last one. What is found is marked, and all marks are removed in one pass. No CDR looks like a mark, which
-- has the 128 random bits of this process in it.
local mark, marked, at = ARGV[1] .. ' settled', 0, 0
local marks = redis.call('LLEN', processing) > tonumber(ARGV[12]) and not refused_on(scratch, {LREM})

local function mark_one(element)
  if redis.call('LINDEX', processing, at) ~= element then at = redis.call('LPOS', processing, element) end
  if not at then
    at = 0
    return 0
  end
  redis.call('LSET', processing, at, mark)
  marked, at = marked + 1, at + 1
  return 1
end

local function take_out(from, to, element)
  if from == 'processing' and to ~= 'pending' and marks then
    local well, removed = pcall(mark_one, element)
    if well then return removed end
    marks = false -- a right is missing, and nothing was marked
  end
  -- The oldest are acked first, and the newest given back first: each is searched for at its own end.
  if from == 'processing' then return redis.pcall('LREM', processing, to == 'pending' and -1 or 1, element) end
  local removed = redis.pcall('ZREM', retrying, element)
  if removed == 0 and from == 'retry' then removed = redis.pcall('ZREM', retry, element) end
  return removed
end

-- Pushed before it is taken out, so that no refusal loses it; and taken back where there was nothing to take
-- out: otherwise two processes that both fail a CDR would make two of it.
local function settle(from, to, element, pushed, delay)
  if is_blocked(to) then return blocked[to] end
  if to ~= '' then
    local added = push[to](pushed, delay)
    if failed(added) then return added.err end
    if added == 0 then return 0 end
  end
  local removed = take_out(from, to, element)
  if to ~= '' and (failed(removed) or removed == 0) then undo[to](pushed) end
  return failed(removed) and removed.err or removed
end

local results, refusals = {}, ''
for i = 14, 13 + 5 * ARGV[13], 5 do
  local result = settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4]))
  results[#results + 1] = result
  if type(result) == 'string' then refusals = refusals .. ' ' .. #results end
end
if marked > 0 then redis.call('LREM', processing, marked, mark) end
-- For the case that this reply is lost: what was refused is still ours, and must not be taken for settled.
if refusals ~= '' then redis.call('HSET', KEYS[2], ARGV[3], ARGV[4] .. refusals) end

local bytes, most_bytes = 0, tonumber(ARGV[7])

-- Moves a member between the two sets. Returns what refuses it.
local function move(member, from, to, score)
  local added = redis.pcall('ZADD', to, score, member)
  if failed(added) then return added.err end
  local removed = redis.pcall('ZREM', from, member)
  if failed(removed) then
    if added == 1 then redis.pcall('ZREM', to, member) end
    return removed.err
  end
end

local horizon = now + ARGV[11]

-- Returns a member of a set whose score is past, or too far ahead to be meant; false where there is none.
local function past(set)
  local first = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, 1)[1]
  return first or redis.call('ZREVRANGEBYSCORE', set, '+inf', '(' .. string.format('%.0f', horizon), 'LIMIT', 0, 1)[1] or false
end

-- Returns the member due next, whether it is due or not, but not the CDR named by ARGV[10] while there is another.
local function earliest()
  local first = false
  for _, member in ipairs(redis.call('ZRANGE', retry, 0, 9)) do
    first = first or member
    local line = string.sub(member, 1, 5) == 'cdr1 ' and string.find(member, '\n', 1, true) or 0
    if redis.sha1hex(string.sub(member, line + 1)) ~= ARGV[10] then return member end
  end
  return first
end

local handed_out, hand_refusal, next_due = {}, is_blocked('retry') or '', -1

local function hand_out()
  for _ = 1, 64 do
    local expired = past(retrying)
    if not expired then break end
    hand_refusal = move(expired, retrying, retry, now) or ''
    if hand_refusal ~= '' then return end
  end
  for _ = 1, tonumber(ARGV[8]) do
    if bytes >= most_bytes then break end
    local member
    if ARGV[10] == 'due' then member = past(retry) else member = earliest() end
    if not member then break end
    hand_refusal = move(member, retry, retrying, now + ARGV[9]) or ''
    if hand_refusal ~= '' then return end
    handed_out[#handed_out + 1] = member
    bytes = bytes + #member
  end
  if past(retry) then
    next_due = 0 -- there is more than was asked for
  else
    local first = redis.call('ZRANGE', retry, 0, 0, 'WITHSCORES')[2]
    local expiry = redis.call('ZRANGE', retrying, 0, 0, 'WITHSCORES')[2]
    if first or expiry then
      next_due = math.max(0, math.ceil(math.min(tonumber(first or expiry), tonumber(expiry or first)) - now))
    end
  end
end

if hand_refusal == '' then
  -- Settled already: a right that is missing here must not make an error of the whole answer.
  local well, problem = pcall(hand_out)
  if not well then hand_refusal = type(problem) == 'table' and problem.err or problem end
end

local claimed, claim_refusal = {}, ''
for _ = 1, ARGV[6] do
  if bytes >= most_bytes then break end
  local cdr = redis.pcall('LMOVE', pending, processing, oldest, 'RIGHT')
  if failed(cdr) then claim_refusal = cdr.err break end
  if not cdr then break end
  claimed[#claimed + 1] = cdr
  bytes = bytes + #cdr
end

local function length(command, key)
  local number = redis.pcall(command, key)
  return failed(number) and 0 or number
end
return {
  now, next_due, claim_refusal, hand_refusal, results, claimed, handed_out,
  length('LLEN', pending), length('ZCARD', retry) + length('ZCARD', retrying),
}
