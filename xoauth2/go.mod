module github.com/reauth-go/reauth/xoauth2

go 1.26.0

replace github.com/reauth-go/reauth => ../

require (
	github.com/reauth-go/reauth v0.0.0
	github.com/stretchr/testify v1.12.1
	golang.org/x/oauth2 v0.38.0
)

require (
	cloud.google.com/go/compute/metadata v0.3.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
