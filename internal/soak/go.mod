module github.com/reauth-go/reauth/internal/soak

go 1.26.0

require (
	github.com/reauth-go/reauth v0.0.0
	github.com/reauth-go/reauth/filestore v0.0.0
	github.com/reauth-go/reauth/redisstore v0.0.0
	github.com/redis/go-redis/v9 v9.23.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sys v0.48.0 // indirect
)

replace (
	github.com/reauth-go/reauth => ../../
	github.com/reauth-go/reauth/filestore => ../../filestore
	github.com/reauth-go/reauth/redisstore => ../../redisstore
)
