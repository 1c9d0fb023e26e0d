-- Renews the lease, where it is still ours. PEXPIRE works in a full Redis, where SET does not.
--   KEYS[1] owner   ARGV[1] owner value   ARGV[2] lease in ms
-- Answers 1, or 0 where it is gone.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
