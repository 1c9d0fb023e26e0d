-- Leaves word of what an operator's command has done.
--   KEYS[1] operations (list of JSON objects, oldest at the head; it expires)
--   ARGV[1] how many to keep   ARGV[2] for how long, in ms   ARGV[3], ... what was done
-- Answers how many are there.
redis.call('RPUSH', KEYS[1], unpack(ARGV, 3))
while redis.call('LLEN', KEYS[1]) > tonumber(ARGV[1]) do redis.call('LPOP', KEYS[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('LLEN', KEYS[1])
