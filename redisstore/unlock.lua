-- KEYS: lock, whose name is also that of the channel; queue. ARGV: owner.
-- Wakes the first in the queue, or everybody if it is empty, because clients of an earlier
-- version don't enter it, and some users may not. An owner that has left the queue, and may
-- have been woken, does the same. If publishing is not permitted, the lock is released all
-- the same.
local owner = redis.call('HGET', KEYS[1], 'owner')
redis.pcall('LREM', KEYS[2], 0, ARGV[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
local first = redis.pcall('LPOP', KEYS[2])
redis.pcall('PUBLISH', KEYS[1], type(first) == 'string' and first or '')
return 1
