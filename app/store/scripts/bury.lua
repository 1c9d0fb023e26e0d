-- Moves one CDR from processing to the dead letters.
--   KEYS[3] processing   KEYS[4] failing   KEYS[5] dead
--   ARGV[5] where to search from (1 head, -1 tail)   ARGV[6] CDR   ARGV[7] webhook-id   ARGV[8] dead letter (JSON)
-- Answers how many were moved: 0 where the CDR is not there any more.
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[4], 'hash') or wrong_type(KEYS[5], 'list')
if refused then return refused end
if not redis.call('LPOS', KEYS[3], ARGV[6], 'RANK', ARGV[5]) then
  redis.call('HDEL', KEYS[4], ARGV[7])
  return 0
end
begin()

-- Pushed before it is removed: whichever is refused, the CDR is still somewhere.
local pushed = redis.pcall('RPUSH', KEYS[5], ARGV[8])
if failed(pushed) then return abandon(pushed) end
local removed = redis.pcall('LREM', KEYS[3], ARGV[5], ARGV[6])
if failed(removed) then
  redis.pcall('RPOP', KEYS[5]) -- where that is refused too there are two letters in the end, and no CDR is lost
  return abandon(removed)
end
redis.pcall('HDEL', KEYS[4], ARGV[7])
return removed
