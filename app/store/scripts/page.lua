-- Reads the first elements of a processing list.
--   KEYS[1] processing   ARGV[1] how many at most   ARGV[2] how many bytes at most
-- Answers the CDRs, oldest first; at least one where there is one, however long. LINDEX tells the size before a
-- step is read: 64 elements of 1 MiB in one LRANGE would block Redis for a second.
local page, bytes, most, most_bytes = {}, 0, tonumber(ARGV[1]), tonumber(ARGV[2])
while #page < most and (#page == 0 or bytes < most_bytes) do
  local first = redis.call('LINDEX', KEYS[1], #page)
  if not first then break end
  local fits = math.floor((most_bytes - bytes) / math.max(1, #first))
  local step = math.max(1, math.min(16, fits, most - #page))
  for _, cdr in ipairs(redis.call('LRANGE', KEYS[1], #page, #page + step - 1)) do
    page[#page + 1] = cdr
    bytes = bytes + #cdr
  end
end
return page
