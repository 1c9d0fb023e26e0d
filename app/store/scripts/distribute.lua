-- Gives CDRs to every lane, oldest first: what a former one-endpoint configuration had deferred, then what is in
-- processing, then what is in the source.
--   KEYS[3] processing   KEYS[4] source   KEYS[5] short retry   KEYS[6] short retrying   KEYS[7] scratch
--   KEYS[8], ... of each lane in turn: pending, retry
--   ARGV[5] oldest end of the source (LEFT|RIGHT)   ARGV[6] how many at most   ARGV[7] how many bytes at most
--   ARGV[8] how many may be pending   ARGV[9], ... of each lane in turn: 'passing', 'probe' (shut, and no CDR
--   to probe with that was never attempted) or 'shut'
-- Answers {how many were given, 1 where a lane wants more, what refused it or ''}.
local FIRST = 8
local processing, source, short_retry, short_retrying, scratch = unpack(KEYS, 3, 7)
local refused = wrong_type(processing, 'list') or wrong_type(source, 'list')
for i = FIRST, #KEYS, 2 do refused = refused or wrong_type(KEYS[i], 'list') or wrong_type(KEYS[i + 1], 'zset') end
if refused then return refused end
-- Without these a refusal half-way could not be undone.
local missing = refused_on(scratch, {{'LPOP', scratch}, {'RPOP', scratch}, {'ZREM', scratch, ''}})
if missing then return redis.error_reply(missing) end
local now = now_ms()
begin()

local function wanted()
  for i = FIRST, #KEYS, 2 do
    local mode, waiting = ARGV[9 + (i - FIRST) / 2], redis.call('LLEN', KEYS[i])
    if mode == 'passing' and waiting < tonumber(ARGV[8]) then return 1 end
    if mode == 'probe' and waiting == 0 then return 1 end
  end
  return 0
end

-- Pushes to all lanes or to none, then takes it out; whatever is refused is undone. Returns what refused it.
local function give(push, undo, take_out)
  local pushed = {}
  local function refuse(reply)
    for i, added in pairs(pushed) do
      if added ~= 0 then undo(i) end
    end
    return reply.err
  end
  for i = FIRST, #KEYS, 2 do
    local reply = push(i)
    if failed(reply) then return refuse(reply) end
    pushed[i] = reply
  end
  local removed = take_out()
  if failed(removed) then return refuse(removed) end
end

local function give_cdr(cdr)
  return give(
    function(i) return redis.pcall('RPUSH', KEYS[i], cdr) end,
    function(i) redis.pcall('RPOP', KEYS[i]) end,
    function() return redis.pcall('LPOP', processing) end
  )
end

-- Strikes and rejections count at the endpoint that they come from: elsewhere they could make a dead letter at once.
local function without_strikes(member)
  return (string.gsub(member, '^(cdr1 %S+ %d+) %d+ (%d+) %d+ %d+ (%S+) %d+ ([01]\n)', '%1 0 %2 0 0 %3 0 %4'))
end

local function give_deferred(set, member, score)
  local fresh = without_strikes(member)
  return give(
    function(i) return redis.pcall('ZADD', KEYS[i + 1], 'NX', score, fresh) end,
    function(i) redis.pcall('ZREM', KEYS[i + 1], fresh) end,
    function() return redis.pcall('ZREM', set, member) end
  )
end

local given, bytes, refusal = 0, 0, nil

local function full()
  return refusal or given >= tonumber(ARGV[6]) or bytes >= tonumber(ARGV[7])
end

-- Both sets belong to a process of a former configuration; what it holds is taken when its visibility ends.
local function deferred(set, last)
  if redis.call('TYPE', set).ok ~= 'zset' then return end
  while not full() do
    local first = redis.call('ZRANGEBYSCORE', set, '-inf', last, 'WITHSCORES', 'LIMIT', 0, 1)
    if not first[1] then return end
    refusal = give_deferred(set, first[1], first[2])
    if not refusal then given, bytes = given + 1, bytes + #first[1] end
  end
end
deferred(short_retry, '+inf')
deferred(short_retrying, now)

while not full() and wanted() == 1 do
  local cdr = redis.pcall('LINDEX', processing, 0) or redis.pcall('LMOVE', source, processing, ARGV[5], 'RIGHT')
  if not cdr then break end
  refusal = failed(cdr) and cdr.err or give_cdr(cdr)
  if not refusal then given, bytes = given + 1, bytes + #cdr end
end
return {given, wanted(), refusal or ''}
