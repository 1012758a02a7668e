-- KEYS: token; lock, whose name is also that of a channel. ARGV: token as it was
-- read, what to replace it by, or '' to delete it; channel for those who watch; message for
-- them; what begins the message for those who wait.
-- Returns whether it was done. It is not if somebody has the lock, or has saved meanwhile.
if redis.call('HGET', KEYS[2], 'owner') or redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] ~= '' then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', left)
  else
    redis.call('SET', KEYS[1], ARGV[2])
  end
  return 1
end
redis.call('DEL', KEYS[1], KEYS[2]) -- the lock is at most a queue, which all leave now
redis.pcall('PUBLISH', KEYS[2], ARGV[5] .. redis.sha1hex(''))
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
