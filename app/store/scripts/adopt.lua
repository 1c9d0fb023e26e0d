-- Moves one page of CDRs from a processing list whose owner is gone to the end of one's own.
--   KEYS[3] own processing   KEYS[4] their owner   KEYS[5] their processing
--   ARGV[5] how many at most   ARGV[6] how many bytes at most
--   ARGV[7] their owner as it was seen: '', or one that has no such lane
-- Answers how many were moved: 0 where there are none, or where somebody owns that list by now.
-- An owner key that is no string is nobody's: GET would fail for ever.
local owner = redis.call('TYPE', KEYS[4]).ok == 'string' and redis.call('GET', KEYS[4]) or ''
if owner ~= ARGV[7] then return 0 end
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[5], 'list')
if refused then return refused end
begin()
local moved, bytes = 0, 0
while moved < tonumber(ARGV[5]) and bytes < tonumber(ARGV[6]) do
  local cdr = redis.pcall('LMOVE', KEYS[5], KEYS[3], 'LEFT', 'RIGHT')
  if failed(cdr) then return moved > 0 and moved or abandon(cdr) end
  if not cdr then break end
  moved, bytes = moved + 1, bytes + #cdr
end
return moved
