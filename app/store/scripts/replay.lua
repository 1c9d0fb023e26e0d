-- Moves the CDR of one dead letter into the retry set, due now.
--   KEYS[2] dead   KEYS[3] retry   KEYS[4] retrying   KEYS[5] scratch: a key that never exists
--   ARGV[3] dead letter   ARGV[4] member: its CDR behind a header whose token is derived from the letter
-- Answers 1, or 0 where the letter is not there any more, or where its member waits already.
local refused = wrong_type(KEYS[2], 'list') or wrong_type(KEYS[3], 'zset') or wrong_type(KEYS[4], 'zset')
if refused then return refused end
if not redis.call('LPOS', KEYS[2], ARGV[3]) or redis.call('ZSCORE', KEYS[4], ARGV[4]) then return 0 end
local undo = redis.pcall('ZREM', KEYS[5], '')
if failed(undo) then return undo end
begin()

-- Pushed before it is removed: whichever is refused, the CDR is still somewhere.
local added = redis.pcall('ZADD', KEYS[3], 'NX', now_ms(), ARGV[4])
if failed(added) then return abandon(added) end
if added == 0 then return abandon(0) end
local removed = redis.pcall('LREM', KEYS[2], 1, ARGV[3])
if failed(removed) then
  redis.pcall('ZREM', KEYS[3], ARGV[4])
  return abandon(removed)
end
return removed
