-- KEYS: lock, token. ARGV: owner, milliseconds of a lease, hash of the token at the first
-- try or ''.
-- Returns 1 if owner has the lock, 2 if the token has changed since the first try, or 0,
-- then for how many more milliseconds another has the lock, and the hash of the token. An
-- owner that has the lock already gets it again, because the answer to the first call may
-- have been lost.
--
-- Owners that don't get the lock stand in a queue, which is a field of the lock. It is not
-- a key of its own, because while a cluster migrates a slot it serves no script that names
-- a key which may be missing.
--
-- The token is named, so that a cluster which can't serve both keys at once refuses the
-- lock, and not a Save under it. So does a user who may not write it.
local owner, queue = unpack(redis.call('HMGET', KEYS[1], 'owner', 'queue'))
queue = queue or ''
if owner ~= ARGV[1] then
  local token = redis.pcall('GET', KEYS[2])
  if type(token) ~= 'string' then
    token = '' -- absent, or no token at all
  end
  local hash = redis.sha1hex(token)
  if ARGV[3] ~= '' and ARGV[3] ~= hash then
    -- It leaves. A write by one of these scripts has emptied the queue. The end of a TTL, or
    -- another program, has not.
    if string.find(queue, ARGV[1], 1, true) then
      redis.call('HSET', KEYS[1], 'queue', (string.gsub(queue, ARGV[1] .. ' ', '')))
    end
    return {2, 0, hash}
  end
  if owner then
    if not string.find(queue, ARGV[1], 1, true) then
      redis.call('HSET', KEYS[1], 'queue', queue .. ARGV[1] .. ' ')
    end
    return {0, redis.call('PTTL', KEYS[1]), hash}
  end
end
if redis.acl_check_cmd and not redis.acl_check_cmd('SET', KEYS[2], '') then -- since Redis 7
  return redis.error_reply('NOPERM this user may not write the token')
end
if not owner then
  queue = string.gsub(queue, ARGV[1] .. ' ', '')
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'writes', 0, 'queue', queue)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {1, 0, ''}
