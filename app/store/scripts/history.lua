-- Reads the last minutes of a lane.
--   KEYS[1] minutes   ARGV[1] how many
-- Answers {minute that it is now, minute, value, minute, value, ...}, the newest first.
local reply = {math.floor(redis.call('TIME')[1] / 60)}
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return reply end
for minute = reply[1], reply[1] - ARGV[1] + 1, -1 do
  local value = redis.call('HGET', KEYS[1], string.format('%.0f', minute))
  if value and #value <= 48 then
    reply[#reply + 1] = minute
    reply[#reply + 1] = value
  end
end
return reply
