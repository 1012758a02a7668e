-- KEYS: lock, whose name is also that of the channel. ARGV: owner, milliseconds for which
-- the queue is kept.
-- Releases the lock, and wakes the first in the queue, or everybody if it is empty, because
-- clients of the first version don't stand in it. An owner that has the lock no longer, or
-- has left the queue and may have been woken, does the same if nobody has the lock. If
-- publishing is not permitted, the lock is released all the same.
local owner, queue = unpack(redis.call('HMGET', KEYS[1], 'owner', 'queue'))
queue = string.gsub(queue or '', ARGV[1] .. ' ', '')
if owner and owner ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'queue', queue)
  return 0
end
local first, rest = string.match(queue, '^(%w+) (.*)$')
redis.call('DEL', KEYS[1])
if rest and rest ~= '' then
  redis.call('HSET', KEYS[1], 'queue', rest)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.pcall('PUBLISH', KEYS[1], first or '')
return 1
