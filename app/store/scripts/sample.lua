-- Looks at the keys of one lane.
--   KEYS[1] pending   KEYS[2] processing   KEYS[3] dead   KEYS[4] retry   KEYS[5] retrying
--   ARGV[1] index of the oldest that is pending (0|-1)
-- Answers {length of each in turn, 0 where it has the wrong type, SHA-1 of the oldest that is pending or '',
-- TIME in ms, when the first in the retry set is due in ms or ''}: of a CDR no more than that leaves Redis.
local function length(key, kind, command)
  return redis.call('TYPE', key).ok == kind and redis.call(command, key) or 0
end
local pending = length(KEYS[1], 'list', 'LLEN')
local oldest = pending > 0 and redis.call('LINDEX', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local retry = length(KEYS[4], 'zset', 'ZCARD')
local due = retry > 0 and redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2]
return {
  pending, length(KEYS[2], 'list', 'LLEN'), length(KEYS[3], 'list', 'LLEN'),
  retry, length(KEYS[5], 'zset', 'ZCARD'),
  oldest and redis.sha1hex(oldest) or '', time[1] * 1000 + math.floor(time[2] / 1000), due or '',
}
