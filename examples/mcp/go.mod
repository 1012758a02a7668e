module github.com/reauth-go/reauth/examples/mcp

go 1.26.0

replace (
	github.com/reauth-go/reauth => ../..
	github.com/reauth-go/reauth/filestore => ../../filestore
)

require (
	github.com/modelcontextprotocol/go-sdk v1.8.0
	github.com/reauth-go/reauth v0.0.0
	github.com/reauth-go/reauth/filestore v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/jsonschema-go v0.4.3 // indirect
	github.com/segmentio/asm v1.1.3 // indirect
	github.com/segmentio/encoding v0.5.4 // indirect
	github.com/yosida95/uritemplate/v3 v3.0.2 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/oauth2 v0.35.0 // indirect
	golang.org/x/sync v0.20.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/time v0.15.0 // indirect
)
