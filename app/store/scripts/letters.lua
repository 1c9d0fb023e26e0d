-- Reads one page of dead letters, behind those that the reader has left there.
--   KEYS[1] dead
--   ARGV[1] how many it has left there   ARGV[2] how many to read at most   ARGV[3] how many bytes at most
--   ARGV[4], ... SHA-1 of each of the last that it has left
-- Answers {index of the first that follows, letter, ...}: at least one letter where there is one, however long.
-- Others remove letters meanwhile, which moves all behind them towards the head: so the index is found again, from
-- what was left. {index} and {} tell apart: nothing found so far, look on below index; and the end of the list.
local STEP, STEPS = 32, 16
local left = {}
for i = 4, #ARGV do left[ARGV[i]] = true end

local function find(from)
  for step = 1, STEPS do
    if from == 0 then return 0, true end
    -- The last one is nearly always still there, and letters may be long: so look at that one alone first.
    local first = math.max(0, from - (step == 1 and 1 or STEP))
    local page = redis.call('LRANGE', KEYS[1], first, from - 1)
    for i = #page, 1, -1 do
      if left[redis.sha1hex(page[i])] then return first + i, true end
    end
    from = first
  end
  return from, from == 0
end

local index, found = find(tonumber(ARGV[1]))
if not found then return {index} end
local page, bytes = {index}, 0
for at = index, index + ARGV[2] - 1 do
  -- One at a time: otherwise Redis would be busy with long letters that do not fit into the page.
  local letter = redis.call('LRANGE', KEYS[1], at, at)[1]
  bytes = bytes + #(letter or '')
  if not letter or (#page > 1 and bytes > tonumber(ARGV[3])) then break end
  page[#page + 1] = letter
end
return #page > 1 and page or {}
