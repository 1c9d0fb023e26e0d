-- Acks what is delivered and claims the oldest pending CDRs, in one round trip.
--   KEYS[3] processing   KEYS[4] failing   KEYS[5] pending
--   ARGV[5] oldest end of pending (LEFT|RIGHT)   ARGV[6] how many to claim   ARGV[7] how many bytes at most
--   ARGV[8] number of acks, then for each: where to search from (1 head, -1 tail), the CDR, and
--           its webhook-id where it has a failing record, else ''
-- Answers {acks that found their CDR, the error that ended claiming or '', claimed CDR, ...}.
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[4], 'hash')
if refused then return refused end
begin()

local acked, last = 0, 8 + 3 * ARGV[8]
for i = 9, last, 3 do
  local removed = redis.pcall('LREM', KEYS[3], ARGV[i], ARGV[i + 1])
  if failed(removed) then return abandon(removed) end
  acked = acked + removed
  if ARGV[i + 2] ~= '' then redis.pcall('HDEL', KEYS[4], ARGV[i + 2]) end
end

local reply, bytes = {acked, ''}, 0
for _ = 1, ARGV[6] do
  if bytes >= tonumber(ARGV[7]) then break end
  local cdr = redis.pcall('LMOVE', KEYS[5], KEYS[3], ARGV[5], 'RIGHT')
  if failed(cdr) then reply[2] = cdr.err break end
  if not cdr then break end
  reply[#reply + 1] = cdr
  bytes = bytes + #cdr
end
return reply
