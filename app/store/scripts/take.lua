-- Takes a free slot.
--   KEYS[1] owner   KEYS[2] ops   KEYS[3], ... ops of each lane that has lists of its own
--   ARGV[1] owner value   ARGV[2] lease in ms
-- Answers 0: it is somebody's · 1: taken · 2: taken again, and nobody else had it in between, so that
-- operations whose reply was lost can still be told from those that never arrived · 3: taken, and Redis knows of no
-- owner before.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'string' and kind ~= 'none' then return 0 end
local owner = redis.call('GET', KEYS[1])
if owner == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end -- the reply to the first try was lost
if owner then return 0 end
-- A full Redis refuses SET, unless something that adds no memory was written before.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local before = redis.pcall('HGET', KEYS[2], 'owner')
if before ~= ARGV[1] then
  redis.call('DEL', unpack(KEYS, 2))
  redis.call('HSET', KEYS[2], 'owner', ARGV[1])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return (before == ARGV[1] and 2) or (before and 1) or 3
