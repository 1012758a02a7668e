package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The scripts, of which Redis runs one at a time, each as a whole. All of them may
// be run again by a client that has lost the answer: the second run does no more
// than the first.
var (
	//go:embed load.lua
	loadLua    string
	loadScript = redis.NewScript(loadLua)

	//go:embed write.lua
	writeLua    string
	writeScript = redis.NewScript(writeLua)

	//go:embed lock.lua
	lockLua    string
	lockScript = redis.NewScript(lockLua)

	//go:embed renew.lua
	renewLua    string
	renewScript = redis.NewScript(renewLua)

	//go:embed unlock.lua
	unlockLua    string
	unlockScript = redis.NewScript(unlockLua)
)
