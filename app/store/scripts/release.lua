-- Gives the lease back, where it is still ours.
--   KEYS[1] owner   ARGV[1] owner value
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
