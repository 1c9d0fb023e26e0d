-- Moves one page of CDRs, oldest first, to the newest end of another endpoint's pending list.
--   KEYS[slots + 1] a key that never exists   KEYS[slots + 2] from   KEYS[slots + 3] to
--   ARGV[3] how many at most   ARGV[4] newest end of the other list (LEFT|RIGHT)
-- Answers how many were moved.
local gate, from, to = KEYS[ARGV[2] + 1], KEYS[ARGV[2] + 2], KEYS[ARGV[2] + 3]
redis.call('PEXPIRE', gate, 1) -- opens a full Redis: a move adds no memory
local moved = 0
for _ = 1, ARGV[3] do
  local cdr = redis.pcall('LMOVE', from, to, 'LEFT', ARGV[4])
  if type(cdr) == 'table' and cdr.err then
    if moved == 0 then return cdr end
    break
  end
  if not cdr then break end
  moved = moved + 1
end
return moved
