-- Stands before every script that changes the lists of an endpoint that is no longer configured.
--   KEYS[1], ... owner of each slot
--   ARGV[1] endpoint   ARGV[2] number of slots
-- Answers the owner value of a live process that still has this endpoint: its lists are in use.
for i = 1, ARGV[2] do
  local owner = redis.call('TYPE', KEYS[i]).ok == 'string' and redis.call('GET', KEYS[i])
  local readable, value = pcall(cjson.decode, owner or '{}')
  local known = readable and type(value) == 'table' and value.fans_out == true and type(value.endpoints) == 'table'
  if known and value.endpoints[ARGV[1]] then return owner end
end
