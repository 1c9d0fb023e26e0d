-- Moves the CDR of one dead letter back to pending.
--   KEYS[2] dead   KEYS[3] pending
--   ARGV[3] dead letter   ARGV[4] its CDR   ARGV[5] newest end of pending (left|right)
-- Answers 1, or 0 where the letter is not there any more.
local refused = wrong_type(KEYS[2]) or wrong_type(KEYS[3])
if refused then return refused end
if not redis.call('LPOS', KEYS[2], ARGV[3]) then return 0 end
begin()

-- Pushed before it is removed: whichever is refused, the CDR is still somewhere.
local push, pop = 'RPUSH', 'RPOP'
if ARGV[5] == 'left' then push, pop = 'LPUSH', 'LPOP' end
local pushed = redis.pcall(push, KEYS[3], ARGV[4])
if failed(pushed) then return abandon(pushed) end
local removed = redis.pcall('LREM', KEYS[2], 1, ARGV[3])
if failed(removed) then
  redis.pcall(pop, KEYS[3]) -- where that is refused too the CDR arrives once more, and none is lost
  return abandon(removed)
end
return removed
