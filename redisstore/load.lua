-- A script reads the token, because a client may send a GET to a replica, which may
-- still have a spent token.
return redis.call('GET', KEYS[1])
