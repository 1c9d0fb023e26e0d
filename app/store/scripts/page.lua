-- Reads one page of a processing list.
--   KEYS[1] processing   ARGV[1] index of the first   ARGV[2] how many at most   ARGV[3] how many bytes at most
-- Answers the CDRs, oldest first; at least one where there is one, however long.
local page, bytes = {}, 0
if tonumber(ARGV[2]) < 1 then return page end -- LRANGE 0 -1 would be the whole list
for _, cdr in ipairs(redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1)) do
  bytes = bytes + #cdr
  if #page > 0 and bytes > tonumber(ARGV[3]) then break end
  page[#page + 1] = cdr
end
return page
