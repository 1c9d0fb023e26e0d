-- Looks at all slots of a lane.
--   KEYS owner, processing, owner, processing, ... of each slot in turn
--   ARGV[1] lease in ms, for an owner that does not say its own
-- Answers {owner value or '', length of the list or -1 where it is no list, ...} of each slot in turn.
-- An owner key without a TTL, or with one longer than its value says, would keep its slot for ever: it is cut.
local function cut(key, owner)
  local readable, value = pcall(cjson.decode, owner)
  local lease = readable and type(value) == 'table' and tonumber(value.lease_ms)
  lease = lease and lease > 0 and lease < 1e12 and lease or tonumber(ARGV[1])
  local left = redis.call('PTTL', key)
  if left == -1 or left > lease then redis.pcall('PEXPIRE', key, math.floor(lease)) end
end

local reply = {}
for i = 1, #KEYS, 2 do
  local is_string = redis.call('TYPE', KEYS[i]).ok == 'string'
  reply[i] = is_string and redis.call('GET', KEYS[i]) or ''
  if reply[i] ~= '' then cut(KEYS[i], reply[i]) end
  local kind = redis.call('TYPE', KEYS[i + 1]).ok
  reply[i + 1] = (kind == 'list' and redis.call('LLEN', KEYS[i + 1])) or (kind == 'none' and 0) or -1
end
return reply
