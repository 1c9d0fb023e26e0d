-- Writes down when a CDR that stays in processing is to be tried again.
--   KEYS[3] processing   KEYS[4] failing
--   ARGV[5] where to search from (1 head, -1 tail)   ARGV[6] CDR   ARGV[7] webhook-id   ARGV[8] failing record (JSON)
-- Answers 1, or 0 where the CDR is not there any more: a record without its CDR would stay for ever.
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[4], 'hash')
if refused then return refused end
if not redis.call('LPOS', KEYS[3], ARGV[6], 'RANK', ARGV[5]) then
  redis.call('HDEL', KEYS[4], ARGV[7])
  return 0
end
begin()
local written = redis.pcall('HSET', KEYS[4], ARGV[7], ARGV[8])
if failed(written) then return abandon(written) end
return 1
