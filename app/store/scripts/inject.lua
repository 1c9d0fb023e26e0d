-- Appends one page of CDRs at the newest end of the source.
--   KEYS[1] operation (string: number of the last one applied; it expires)   KEYS[2] source
--   ARGV[1] number of this operation   ARGV[2] how long it is remembered, in ms
--   ARGV[3] newest end of the source (RPUSH|LPUSH)   ARGV[4], ... CDRs
-- Answers 1. A full Redis refuses it before anything is done: this adds what another script has to drain.
-- A page that arrives late, behind its own repetition and the page after it, is known by its lower number.
if (tonumber(redis.call('GET', KEYS[1]) or 0) or 0) >= tonumber(ARGV[1]) then return 1 end
local before = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local pushed = redis.pcall(ARGV[3], KEYS[2], unpack(ARGV, 4))
if type(pushed) == 'table' and pushed.err then
  if before then redis.call('SET', KEYS[1], before, 'PX', ARGV[2]) else redis.call('DEL', KEYS[1]) end
  return pushed
end
return 1
