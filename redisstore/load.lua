-- Read through a script, since a client may send a GET to a replica, and what that
-- still has may be a token that was spent.
return redis.call('GET', KEYS[1])
