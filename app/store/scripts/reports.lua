-- Reads what owners say of themselves.
--   KEYS report of each slot in turn   ARGV[1] how many bytes a report may have
-- Answers the value of each in turn: '' where there is none, where it is no string, and where it is longer.
local reports = {}
for i, key in ipairs(KEYS) do
  local report = redis.call('TYPE', key).ok == 'string' and redis.call('GET', key)
  reports[i] = report and #report <= tonumber(ARGV[1]) and report or ''
end
return reports
