-- KEYS: lock. ARGV: owner, milliseconds of a lease.
-- Returns whether owner has it and, if not, for how many milliseconds more another
-- does. Who has it already gets it again: the answer to the first call may be lost.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return {0, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, 0}
