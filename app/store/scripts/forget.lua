-- Drops what was remembered of CDRs that are no longer there: failing records and operation ids.
--   KEYS[slots + 1], ... what to drop
-- Answers how many keys there were.
return redis.call('DEL', unpack(KEYS, ARGV[2] + 1))
