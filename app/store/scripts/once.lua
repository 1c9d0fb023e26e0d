-- Stands before every script of an operator's command that changes a list.
--   KEYS[1] operation (string: number of the last one applied; it expires)
--   ARGV[1] number of this operation   ARGV[2] how long it is remembered, in ms
-- Answers 1 where this operation was applied already and its reply was lost: a second one would take a twin.
local before = redis.call('GET', KEYS[1])
if (tonumber(before or 0) or 0) >= tonumber(ARGV[1]) then return 1 end

-- A full Redis refuses a script's first write unless that adds no memory; after it, all others pass.
redis.call('PEXPIRE', KEYS[1], ARGV[2])

local function begin()
  return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end

-- Nothing was done after all: the same operation may be sent again.
local function abandon(reply)
  if before then redis.call('SET', KEYS[1], before, 'PX', ARGV[2]) else redis.call('DEL', KEYS[1]) end
  return reply
end
