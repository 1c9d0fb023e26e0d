-- Renews the lease, where it is still ours. PEXPIRE works in a full Redis, where SET does not.
--   KEYS[1] owner   KEYS[2] ops   ARGV[1] owner value   ARGV[2] lease in ms   ARGV[3] channel
-- Answers {1, or 0 where it is gone, last operation of that channel that was applied, or 0}.
local last = string.match(redis.call('HGET', KEYS[2], ARGV[3]) or '0', '^%d*')
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, last} end
return {redis.call('PEXPIRE', KEYS[1], ARGV[2]), last}
