-- Drops what was remembered of CDRs that are no longer there: the hashes of applied operations.
--   KEYS[slots + 1], ... what to drop
-- Answers how many keys there were.
return redis.call('DEL', unpack(KEYS, ARGV[2] + 1))
