-- Stands before every script that changes what the owner of a slot has.
--   KEYS[1] owner (string, its TTL is the lease)     KEYS[2] ops (hash: channel -> last operation applied)
--   ARGV[1] owner value   ARGV[2] lease in ms   ARGV[3] channel   ARGV[4] sequence number of this operation
-- Answers FENCED where the lease is gone; where this operation was applied already (its reply was lost: a second
-- LREM would remove a twin) false, or the numbers of those of its settlements that were refused: ' 3 7'.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED the lease of this processing list is gone')
end
local last, refused_then = string.match(redis.call('HGET', KEYS[2], ARGV[3]) or '', '^(%d+)(.*)')
if last and tonumber(last) >= tonumber(ARGV[4]) then
  return refused_then ~= '' and refused_then
end

-- A full Redis refuses a script's first write unless that frees memory or, as here, adds none.
-- After it, all others pass: this is what lets a backlog that fills the memory drain.
redis.call('PEXPIRE', KEYS[1], ARGV[2])

local function begin()
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
end

-- Nothing was done after all: the same operation may be sent again.
local function abandon(reply)
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[4] - 1)
  return reply
end

-- Returns what refuses one of the removing commands that a script needs, tried where there is nothing to remove.
local function refused_on(scratch, commands)
  for _, command in ipairs(commands) do
    local reply = redis.pcall(unpack(command, 1, #command))
    if failed(reply) then return command[1] .. ': ' .. reply.err end -- 6.2 does not name it
  end
end
