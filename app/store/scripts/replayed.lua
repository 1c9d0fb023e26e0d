-- Looks for CDRs that were replayed, and still wait for their end.
--   KEYS[1] retry   KEYS[2] retrying
--   ARGV[1] how many members to look at in each, at most   ARGV[2] how many bytes at most
-- Answers {1 where all members were looked at, else 0, SHA-1 of the CDR of each replayed one, ...}.
local MARK = 'cdr1 '
local reply, bytes = {1}, 0

local function replayed(member)
  local stop = string.sub(member, 1, #MARK) == MARK and string.find(member, '\n', 1, true)
  return stop and string.sub(member, stop - 2, stop - 1) == ' 1' and string.sub(member, stop + 1)
end

local function look(key)
  if redis.call('TYPE', key).ok ~= 'zset' then return end
  for rank = 0, redis.call('ZCARD', key) - 1 do
    -- One at a time: otherwise Redis would be busy with long ones.
    local member = redis.call('ZRANGE', key, rank, rank)[1]
    bytes = bytes + #member
    if rank >= tonumber(ARGV[1]) or bytes > tonumber(ARGV[2]) then reply[1] = 0 return end
    local body = replayed(member)
    if body then reply[#reply + 1] = redis.sha1hex(body) end
  end
end

look(KEYS[2])
look(KEYS[1])
return reply
