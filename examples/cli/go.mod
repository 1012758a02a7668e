module github.com/reauth-go/reauth/examples/cli

go 1.26.0

replace (
	github.com/reauth-go/reauth => ../..
	github.com/reauth-go/reauth/filestore => ../../filestore
	github.com/reauth-go/reauth/keyringstore => ../../keyringstore
)

require (
	github.com/godbus/dbus/v5 v5.2.2
	github.com/reauth-go/reauth v0.0.0
	github.com/reauth-go/reauth/filestore v0.0.0
	github.com/reauth-go/reauth/keyringstore v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/sys v0.49.0
	golang.org/x/term v0.47.0
)

require (
	github.com/danieljoos/wincred v1.2.3 // indirect
	github.com/fsnotify/fsnotify v1.10.1 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/zalando/go-keyring v0.2.8 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
