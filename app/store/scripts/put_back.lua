-- Puts what stands in our processing list back to the oldest end of pending, the newest first. None of it is in
-- flight: this brings many strays back to where all channels claim them, and no CDR travels for it.
--   KEYS[3] processing   KEYS[4] pending
--   ARGV[5] oldest end of pending (LEFT|RIGHT)   ARGV[6] how many at most   ARGV[7] how many bytes at most
-- Answers {how many were moved, what refuses it or ''}.
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[4], 'list')
if refused then return {0, refused.err} end
begin()
local moved, bytes = 0, 0
while moved < tonumber(ARGV[6]) and bytes < tonumber(ARGV[7]) do
  local cdr = redis.pcall('LMOVE', KEYS[3], KEYS[4], 'RIGHT', ARGV[5])
  if failed(cdr) then return {moved, cdr.err} end
  if not cdr then break end
  moved, bytes = moved + 1, bytes + #cdr
end
return {moved, ''}
