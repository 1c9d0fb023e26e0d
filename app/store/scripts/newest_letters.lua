-- Reads one page of dead letters, the newest first.
--   KEYS[1] dead
--   ARGV[1] index before which to read, or -1: from the newest   ARGV[2] how many to read at most
--   ARGV[3] how many bytes at most
-- Answers {how many letters there are, index of the last one read, letter, ...}: at least one letter where there is
-- one before that index, however long. What is removed meanwhile moves the others towards the head: then a letter may
-- come twice, and none is passed over.
if redis.call('TYPE', KEYS[1]).ok ~= 'list' then return {0, 0} end
local length = redis.call('LLEN', KEYS[1])
local index = tonumber(ARGV[1])
if index < 0 or index > length then index = length end
local page, bytes = {length, index}, 0
for at = index - 1, math.max(0, index - ARGV[2]), -1 do
  -- One at a time: otherwise Redis would be busy with long letters that do not fit into the page.
  local letter = redis.call('LRANGE', KEYS[1], at, at)[1]
  bytes = bytes + #letter
  if #page > 2 and bytes > tonumber(ARGV[3]) then break end
  page[2], page[#page + 1] = at, letter
end
return page
