-- Stands before every script that changes the lists of an endpoint that is no longer configured.
--   KEYS[1], ... owner of each slot
--   ARGV[1] endpoint   ARGV[2] number of slots
-- Answers the owner value of a live process that still has this endpoint: its lists are in use.
for i = 1, ARGV[2] do
  local owner = redis.call('GET', KEYS[i])
  local readable, value = pcall(cjson.decode, owner or '{}')
  local endpoints = readable and type(value) == 'table' and value.endpoints
  for _, name in ipairs(type(endpoints) == 'table' and endpoints or {}) do
    if name == ARGV[1] then return owner end
  end
end
