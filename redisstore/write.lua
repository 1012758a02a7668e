-- KEYS: token, lock. ARGV: owner, number of the write under its lease, token or '',
-- milliseconds until that expires or 0.
-- A delayed write that arrives again was written before, and may have been replaced
-- since.
local lock = redis.call('HMGET', KEYS[2], 'owner', 'writes')
if lock[1] ~= ARGV[1] then
  return 0
end
if tonumber(lock[2]) >= tonumber(ARGV[2]) then
  return 1
end
redis.call('HSET', KEYS[2], 'writes', ARGV[2])
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return 1
