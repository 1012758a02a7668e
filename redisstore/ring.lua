-- KEYS: channel for those who watch. It is no key, but in a cluster this finds the node that
-- now has the slot of that name.
-- Sends an empty message, which is no news.
return redis.call('PUBLISH', KEYS[1], '')
