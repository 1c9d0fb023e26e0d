-- Moves one page of what waits for one endpoint into the retry set of another, due now, marked as replayed.
--   KEYS[slots + 1] a key that never exists   KEYS[slots + 2] from: a list or a sorted set
--   KEYS[slots + 3] to: the retry set, or for dead letters the list, of the other endpoint
--   ARGV[3] how many at most   ARGV[4] what tokens begin with, different for each page
--   ARGV[5] 'cdrs' or 'letters'
-- Answers how many were moved. Sent again after a lost reply it goes on with what is left.
local scratch, from, to = unpack(KEYS, ARGV[2] + 1, ARGV[2] + 3)
redis.call('PEXPIRE', scratch, 1) -- opens a full Redis: a move adds next to no memory
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', from).ok
-- Without these a refusal half-way could not be undone, and each further try would add a copy.
for _, command in ipairs({{'LPOP', scratch}, {'ZREM', scratch, ''}}) do
  local refused = redis.pcall(unpack(command))
  if failed(refused) then return refused end
end

local function member_of(element, number)
  local line_end = string.sub(element, 1, 5) == 'cdr1 ' and string.find(element, '\n', 1, true)
  if kind == 'zset' and line_end then
    -- Strikes and rejections count at the endpoint that they come from: here they could make a dead letter at once.
    local header = string.sub(element, 1, line_end - 1)
    local fresh = string.gsub(header, '^(cdr1 %S+ %d+) %d+ (%d+) %d+ %d+ (%S+) %d+ [01]$', '%1 0 %2 0 0 %3 0 1')
    return fresh .. string.sub(element, line_end)
  end
  return 'cdr1 ' .. ARGV[4] .. '-' .. number .. ' 0 0 0 0 0 - 0 1\n' .. element
end

-- Returns false where nothing is left, else what refused it, or nothing.
local function move(number)
  if ARGV[5] == 'letters' then
    local letter = redis.pcall('LMOVE', from, to, 'LEFT', 'RIGHT')
    if failed(letter) then return letter end
    if not letter then return false end
    return nil
  end
  local element = kind == 'zset' and redis.call('ZRANGE', from, 0, 0)[1] or kind == 'list' and redis.call('LINDEX', from, 0)
  if not element then return false end
  local member = member_of(element, number)
  local added = redis.pcall('ZADD', to, 'NX', now, member)
  if failed(added) then return added end
  local removed = kind == 'zset' and redis.pcall('ZREM', from, element) or redis.pcall('LPOP', from)
  if failed(removed) then
    if added == 1 then redis.pcall('ZREM', to, member) end
    return removed
  end
end

local moved = 0
for number = 1, ARGV[3] do
  local ended = move(number)
  if ended == false then break end
  if ended then return moved > 0 and moved or ended end
  moved = moved + 1
end
return moved
