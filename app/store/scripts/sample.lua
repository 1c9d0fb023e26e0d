-- Looks at the lists of one lane.
--   KEYS[1] pending   KEYS[2] processing   KEYS[3] dead   KEYS[4] failing
--   ARGV[1] index of the oldest that is pending (0|-1)
-- Answers {length of each in turn, SHA-1 of the oldest that is pending or ''}: of a CDR no more than that leaves Redis.
local oldest = redis.call('LINDEX', KEYS[1], ARGV[1])
return {
  redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2]), redis.call('LLEN', KEYS[3]), redis.call('HLEN', KEYS[4]),
  oldest and redis.sha1hex(oldest) or '',
}
