package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// Redis runs one script at a time, each as a whole. A client that has lost the answer
// may run any of them again, because the second run has no further effect.
var (
	//go:embed load.lua
	loadLua    string
	loadScript = redis.NewScript(loadLua)

	//go:embed read.lua
	readLua    string
	readScript = redis.NewScript(readLua)

	//go:embed write.lua
	writeLua    string
	writeScript = redis.NewScript(writeLua)

	//go:embed lock.lua
	lockLua    string
	lockScript = redis.NewScript(lockLua)

	//go:embed renew.lua
	renewLua    string
	renewScript = redis.NewScript(renewLua)

	//go:embed purge.lua
	purgeLua    string
	purgeScript = redis.NewScript(purgeLua)

	//go:embed ring.lua
	ringLua    string
	ringScript = redis.NewScript(ringLua)

	//go:embed unlock.lua
	unlockLua    string
	unlockScript = redis.NewScript(unlockLua)
)
