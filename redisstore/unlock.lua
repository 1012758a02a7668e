-- KEYS: lock, whose name is also that of the channel. ARGV: owner.
-- If publishing is not permitted, the lock is released all the same.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.pcall('PUBLISH', KEYS[1], '')
return 1
