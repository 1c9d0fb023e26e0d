-- Stands before every script of an operator's command that changes a list.
--   KEYS[1] operation (string: number of the last one applied; it expires)
--   ARGV[1] number of this operation   ARGV[2] how long it is remembered, in ms
-- Answers 1 where this operation was applied already and its reply was lost: a second one would take a twin.
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end

-- Lua does not roll back: what would fail half-way is refused before anything is done.
local function wrong_type(key)
  local found = redis.call('TYPE', key).ok
  if found ~= 'list' and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', and should be a list')
  end
end

-- A full Redis refuses a script's first write unless that adds no memory; after it, all others pass.
redis.call('PEXPIRE', KEYS[1], ARGV[2])

local function begin()
  return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end

-- Nothing was done after all: the same operation may be sent again.
local function abandon(reply)
  redis.call('DEL', KEYS[1])
  return reply
end

local function failed(reply)
  return type(reply) == 'table' and reply.err ~= nil
end
