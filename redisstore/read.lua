-- KEYS: token, lock. ARGV: owner, milliseconds of a lease.
-- Returns whether owner still has the lock and, if so, the token. A replica, which may
-- have the token from before, refuses to renew the lease.
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then
  return {0}
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {1, redis.call('GET', KEYS[1])}
