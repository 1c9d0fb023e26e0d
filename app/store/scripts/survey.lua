-- Looks at all slots.
--   KEYS owner, processing, owner, processing, ... of each slot in turn
-- Answers {owner value or '', length of the list, ...} of each slot in turn.
local reply = {}
for i = 1, #KEYS, 2 do
  reply[i] = redis.call('GET', KEYS[i]) or ''
  reply[i + 1] = redis.call('LLEN', KEYS[i + 1])
end
return reply
