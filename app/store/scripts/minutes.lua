-- Adds what a process did in some minutes to what the others did in them.
--   KEYS[1] minutes (hash: minute since the epoch -> 'delivered failed backlog')   KEYS[2] ops of its slot
--   ARGV[1] field of this process in ops   ARGV[2] sequence number of the first minute
--   ARGV[3], ... minute, delivered, failed, backlog of each in turn; their sequence numbers ascend by 1
-- Answers 1; 0 where KEYS[1] is no hash.
-- What was delivered and what failed are sums; the backlog, which all see, is the longest that anybody saw.
-- A minute that was added already (the reply was lost) is not added twice. Minutes of no day are left out.
local DAY = 1440
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return 0 end
if redis.replicate_commands then redis.replicate_commands() end -- 6.2 refuses writes after TIME without it
local now = math.floor(redis.call('TIME')[1] / 60)
local added = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0) or 0
-- A full Redis refuses a script's first write unless that adds no memory; after it, all others pass.
redis.call('PEXPIRE', KEYS[1], DAY * 60000)

local function of_a_day(field)
  local minute = tonumber(field)
  return minute and string.format('%.0f', minute) == field and minute > now + 1 - DAY and minute <= now + 1
end

local function add(minute, delivered, failed, backlog)
  local before = redis.call('HGET', KEYS[1], minute) or ''
  local digits = #before <= 48 and '^(%d+) (%d+) (%d+)$' or '^$'
  local more, worse, longer = string.match(before, digits)
  delivered, failed = delivered + (more or 0), failed + (worse or 0)
  backlog = math.max(backlog, longer or 0)
  redis.call('HSET', KEYS[1], minute, string.format('%.0f %.0f %.0f', delivered, failed, backlog))
end

local number = tonumber(ARGV[2])
for i = 3, #ARGV, 4 do
  if number > added and of_a_day(ARGV[i]) then add(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])) end
  number = number + 1
end
redis.call('HSET', KEYS[2], ARGV[1], math.max(added, number - 1))
redis.call('PEXPIRE', KEYS[1], DAY * 60000)

-- There are at most as many fields as a day has minutes, whoever wrote them.
if redis.call('HLEN', KEYS[1]) > DAY then
  local fields = redis.call('HGETALL', KEYS[1])
  for i = 1, #fields, 2 do
    if not of_a_day(fields[i]) then redis.call('HDEL', KEYS[1], fields[i]) end
  end
end
return 1
