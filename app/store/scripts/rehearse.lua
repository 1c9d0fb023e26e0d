-- Tries, on scratch keys, each command that the other scripts use, with the rights that we have.
--   KEYS[1] string   KEYS[2] list   KEYS[3] hash
-- Answers what was refused, one text each; nothing where all is well.
local refusals = {}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refusals[#refusals + 1] = select(1, ...) .. ': ' .. reply.err
  end
end
try('PEXPIRE', KEYS[1], 1)
try('SET', KEYS[1], '1', 'PX', 1)
try('GET', KEYS[1])
try('TYPE', KEYS[1])
try('RPUSH', KEYS[2], '')
try('LMOVE', KEYS[2], KEYS[2], 'LEFT', 'RIGHT')
try('LPOS', KEYS[2], '')
try('LRANGE', KEYS[2], 0, 0)
try('LINDEX', KEYS[2], 0)
try('LLEN', KEYS[2])
try('RPOP', KEYS[2])
try('LPOP', KEYS[2])
try('LREM', KEYS[2], 1, '')
try('HSET', KEYS[3], 'x', '1')
try('HGET', KEYS[3], 'x')
try('HMGET', KEYS[3], 'x')
try('HLEN', KEYS[3])
try('HDEL', KEYS[3], 'x')
try('DEL', KEYS[1], KEYS[2], KEYS[3])
return refusals
