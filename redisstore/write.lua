-- KEYS: token; lock, whose name is also that of a channel. ARGV: owner of the lock, or ''
-- to write without it; number of the write under its lease; token or ''; milliseconds
-- until that expires or 0; channel for those who watch; message for them; what
-- begins the message for those who wait for the lock.
-- A delayed write that arrives again was written before, and may have been replaced
-- since.
local lock = redis.call('HMGET', KEYS[2], 'owner', 'writes', 'queue')
if ARGV[1] ~= '' then
  if lock[1] ~= ARGV[1] then
    return 0
  end
  if tonumber(lock[2]) >= tonumber(ARGV[2]) then
    return 1
  end
  redis.call('HSET', KEYS[2], 'writes', ARGV[2])
end
if ARGV[3] == '' then
  if redis.call('DEL', KEYS[1]) == 0 then
    return 1
  end
elseif ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
-- All who wait for the lock leave the queue. If publishing is not permitted, they poll.
if lock[3] and lock[3] ~= '' then
  redis.call('HSET', KEYS[2], 'queue', '')
end
redis.pcall('PUBLISH', KEYS[2], ARGV[7] .. redis.sha1hex(ARGV[3]))
redis.pcall('PUBLISH', ARGV[5], ARGV[6])
return 1
