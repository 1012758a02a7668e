-- KEYS: lock, token. ARGV: owner, milliseconds of a lease.
-- Returns whether owner has the lock and, if not, for how many more milliseconds
-- another has it. An owner that has it already gets it again, because the answer to the
-- first call may have been lost.
--
-- The token is not touched, but named, so that a cluster which can't serve both keys at
-- once refuses the lock, and not a Save under it. So does a user who may not write it.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then
  return {0, redis.call('PTTL', KEYS[1])}
end
if redis.acl_check_cmd and not redis.acl_check_cmd('SET', KEYS[2], '') then -- since Redis 7
  return redis.error_reply('NOPERM this user may not write the token')
end
if not owner then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'writes', 0)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, 0}
