-- Removes one dead letter for good.
--   KEYS[2] dead
--   ARGV[3] dead letter
-- Answers 1, or 0 where it is not there any more.
local refused = wrong_type(KEYS[2], 'list')
if refused then return refused end
if not redis.call('LPOS', KEYS[2], ARGV[3]) then return 0 end
begin()
local removed = redis.pcall('LREM', KEYS[2], 1, ARGV[3])
if failed(removed) then return abandon(removed) end
return removed
