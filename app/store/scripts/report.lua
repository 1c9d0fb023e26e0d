-- Writes what the owner of a slot says of itself, while the slot is its own.
--   KEYS[1] report (string with a TTL)   KEYS[2] owner
--   ARGV[1] owner value   ARGV[2] report   ARGV[3] TTL in ms
-- Answers 1; 0 where the slot is somebody else's.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
-- A full Redis refuses a script's first write unless that adds no memory; after it, SET passes.
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
