module github.com/reauth-go/reauth/examples/bridges

go 1.26.0

replace github.com/reauth-go/reauth => ../..

require (
	github.com/reauth-go/reauth v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/oauth2 v0.37.0
)

require (
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
