-- Stands before every script of an operator's command that changes a list.
--   KEYS[1] operation (string: number of the last one applied; it expires)
--   ARGV[1] number of this operation   ARGV[2] how long it is remembered, in ms
-- Answers 1 where this operation was applied already and its reply was lost: a second one would take a twin.
local before = redis.call('GET', KEYS[1])
if (tonumber(before or 0) or 0) >= tonumber(ARGV[1]) then return 1 end
if redis.replicate_commands then redis.replicate_commands() end -- 6.2 refuses writes after TIME without it

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Lua does not roll back: what would fail half-way is refused before anything is done.
local function wrong_type(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= wanted and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', and should be a ' .. wanted)
  end
end

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

local function failed(reply)
  return type(reply) == 'table' and reply.err ~= nil
end
