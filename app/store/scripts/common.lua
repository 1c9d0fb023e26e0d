-- Stands before every script that changes a list or a set that others use, too.
if redis.replicate_commands then redis.replicate_commands() end -- 6.2 refuses writes after TIME without it

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function failed(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

-- Lua does not roll back: what would fail half-way is refused before anything is done.
local function wrong_type(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= wanted and found ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found .. ', and should be a ' .. wanted)
  end
end
