-- Moves one CDR from the dead letters back to processing, where it is parked.
--   KEYS[3] processing   KEYS[4] failing   KEYS[5] dead
--   ARGV[5] dead letter (JSON)   ARGV[6] CDR   ARGV[7] webhook-id   ARGV[8] failing record (JSON)
-- Answers how many were moved: 0 where the letter is not there any more.
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[4], 'hash') or wrong_type(KEYS[5], 'list')
if refused then return refused end
if not redis.call('LPOS', KEYS[5], ARGV[5], 'RANK', -1) then return 0 end
begin()

-- Pushed before it is removed: whichever is refused, the CDR is still somewhere.
local pushed = redis.pcall('RPUSH', KEYS[3], ARGV[6])
if failed(pushed) then return abandon(pushed) end
local removed = redis.pcall('LREM', KEYS[5], -1, ARGV[5])
if failed(removed) then
  redis.pcall('RPOP', KEYS[3]) -- where that is refused too it arrives, and there is a letter too many
  return abandon(removed)
end
redis.pcall('HSET', KEYS[4], ARGV[7], ARGV[8])
return removed
