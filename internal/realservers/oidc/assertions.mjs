// An OpenID provider with two clients that authenticate with private_key_jwt, for the
// tests of this folder.
//
//   node assertions.mjs JWK
//
// serves on a free port of 127.0.0.1 until its standard input ends. JWK is the public key
// of the clients. The client "strict" is held to rfc7523bis: the audience is the issuer, as
// a string, and the assertion has its type. The client "lax" may do what RFC 7523 allows.
import http from 'node:http'
import Provider, { errors } from 'oidc-provider'

const jwks = { keys: [JSON.parse(process.argv[2])] }

function newProvider(issuer) {
  const client = (id) => ({
    client_id: id,
    grant_types: ['client_credentials'],
    jwks,
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
  })
  return new Provider(issuer, {
    assertJwtClientAuthClaimsAndHeader: async (ctx, claims, header, { clientId }) => {
      if (clientId !== 'strict') return
      if (claims.aud !== issuer) throw new errors.InvalidClientAuth('aud must be the issuer')
      if (header.typ !== 'client-authentication+jwt') throw new errors.InvalidClientAuth('typ is missing')
    },
    clientAuthMethods: ['private_key_jwt'],
    clients: [client('strict'), client('lax')],
    clockTolerance: 0,
    cookies: { keys: ['a key of this test'] },
    features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false }, revocation: { enabled: true } },
  })
}

const server = http.createServer()
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`
  server.on('request', newProvider(url).callback())
  console.log(`listening on ${url}`)
})
process.stdin.on('end', () => process.exit()).resume()
