-- Gives CDRs to every lane, oldest first: what is in processing, then what is in the source.
--   KEYS[3] processing   KEYS[4] source   KEYS[5], ... pending list of each lane
--   ARGV[5] oldest end of the source (LEFT|RIGHT)   ARGV[6] how many at most   ARGV[7] how many bytes at most
--   ARGV[8] how many may be pending   ARGV[9], ... of each lane in turn: 1 where it takes CDRs just now
-- Answers {how many were given, 1 where a lane wants more, the error that ended it or ''}.
local refused = wrong_type(KEYS[3], 'list') or wrong_type(KEYS[4], 'list')
for i = 5, #KEYS do refused = refused or wrong_type(KEYS[i], 'list') end
if refused then return refused end
begin()

local function wanted()
  for i = 5, #KEYS do
    if ARGV[i + 4] == '1' and redis.call('LLEN', KEYS[i]) < tonumber(ARGV[8]) then return 1 end
  end
  return 0
end

local function oldest()
  return redis.pcall('LINDEX', KEYS[3], 0) or redis.pcall('LMOVE', KEYS[4], KEYS[3], ARGV[5], 'RIGHT')
end

-- All lanes or none: what was pushed before a refusal is taken back.
local function give(cdr)
  for i = 5, #KEYS do
    local pushed = redis.pcall('RPUSH', KEYS[i], cdr)
    if failed(pushed) then
      for j = 5, i - 1 do redis.pcall('RPOP', KEYS[j]) end
      return pushed
    end
  end
  return redis.pcall('LPOP', KEYS[3])
end

local given, bytes = 0, 0
while given < tonumber(ARGV[6]) and bytes < tonumber(ARGV[7]) and wanted() == 1 do
  local cdr = oldest()
  if not cdr then break end
  local done = failed(cdr) and cdr or give(cdr)
  if failed(done) then return {given, 1, done.err} end
  given, bytes = given + 1, bytes + #cdr
end
return {given, wanted(), ''}
