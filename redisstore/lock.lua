-- KEYS: lock. ARGV: owner, milliseconds of a lease.
-- Returns whether owner has the lock and, if not, for how many more milliseconds
-- another has it. An owner that has it already gets it again, because the answer to the
-- first call may have been lost.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return {0, redis.call('PTTL', KEYS[1])}
end
if not owner then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'writes', 0)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, 0}
