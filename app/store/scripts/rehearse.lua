-- Tries, on scratch keys, each command that the other scripts use, with the rights that we have.
--   KEYS[1] string   KEYS[2] list   KEYS[3] hash   KEYS[4] sorted set
-- Answers what was refused, one text each; nothing where all is well.
if redis.replicate_commands then redis.replicate_commands() end -- 6.2 refuses writes after TIME without it
local refusals = {}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refusals[#refusals + 1] = select(1, ...) .. ': ' .. reply.err
  end
end
try('TIME')
try('PEXPIRE', KEYS[1], 1)
try('SET', KEYS[1], '1', 'PX', 1)
try('GET', KEYS[1])
try('PTTL', KEYS[1])
try('TYPE', KEYS[1])
try('RPUSH', KEYS[2], '')
try('LPUSH', KEYS[2], '')
try('LMOVE', KEYS[2], KEYS[2], 'LEFT', 'RIGHT')
try('LPOS', KEYS[2], '')
try('LRANGE', KEYS[2], 0, 0)
try('LINDEX', KEYS[2], 0)
try('LSET', KEYS[2], 0, '')
try('LLEN', KEYS[2])
try('RPOP', KEYS[2])
try('LPOP', KEYS[2])
try('LREM', KEYS[2], 1, '')
try('HSET', KEYS[3], 'x', '1')
try('HGET', KEYS[3], 'x')
try('HGETALL', KEYS[3])
try('HLEN', KEYS[3])
try('HDEL', KEYS[3], 'x')
try('ZADD', KEYS[4], 'NX', 1, '')
try('ZSCORE', KEYS[4], '')
try('ZCARD', KEYS[4])
try('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
try('ZRANGEBYSCORE', KEYS[4], '-inf', 1, 'LIMIT', 0, 1)
try('ZREVRANGEBYSCORE', KEYS[4], '+inf', 1, 'LIMIT', 0, 1)
try('ZREM', KEYS[4], '')
try('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return refusals
