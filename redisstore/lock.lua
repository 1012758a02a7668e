-- KEYS: lock, token, queue. ARGV: owner, milliseconds of a lease, hash of the token at the
-- first try or '', '1' if owner is not in the queue, milliseconds for which the queue is kept.
-- Returns 1 if owner has the lock, 2 if the token has changed since the first try, or 0,
-- then for how many more milliseconds another has the lock, and the hash of the token. An
-- owner that has the lock already gets it again, because the answer to the first call may
-- have been lost.
--
-- A user who may not use lists has no queue. Then all waiters are woken.
--
-- The token is named, so that a cluster which can't serve all keys at once refuses the
-- lock, and not a Save under it. So does a user who may not write it.
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner ~= ARGV[1] then
  local token = redis.pcall('GET', KEYS[2])
  if type(token) ~= 'string' then
    token = '' -- absent, or no token at all
  end
  local hash = redis.sha1hex(token)
  if ARGV[3] ~= '' and ARGV[3] ~= hash then
    redis.pcall('LREM', KEYS[3], 0, ARGV[1])
    return {2, 0, hash}
  end
  if owner then
    if ARGV[4] == '1' then
      redis.pcall('RPUSH', KEYS[3], ARGV[1])
      redis.call('PEXPIRE', KEYS[3], ARGV[5])
    end
    return {0, redis.call('PTTL', KEYS[1]), hash}
  end
end
if redis.acl_check_cmd and not redis.acl_check_cmd('SET', KEYS[2], '') then -- since Redis 7
  return redis.error_reply('NOPERM this user may not write the token')
end
if not owner then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'writes', 0)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.pcall('LREM', KEYS[3], 0, ARGV[1])
return {1, 0, ''}
