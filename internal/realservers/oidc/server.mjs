// An OpenID provider with an API beside it, for the tests of this folder.
//
//   node server.mjs SECONDS
//
// serves on a free port of 127.0.0.1 until its standard input ends. Access tokens
// live SECONDS; refresh tokens rotate, and one that is used twice takes its whole
// family with it. Counts are at GET /_test/counts; POST /_test/revoke takes every
// grant back.
import { createHash } from 'node:crypto'
import http from 'node:http'
import Provider from 'oidc-provider'

const lifetime = Number(process.argv[2])
const signInGrant = 'urn:reauth:sign-in'
const scope = 'openid offline_access'

const counts = { requests: 0, refused: 0, signIns: 0, refreshes: 0, refreshed: 0, revocations: 0, mostSpent: 0 }
const spent = new Map() // refresh token to how often it was presented
const grants = new Set()

function newProvider(issuer) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'a program',
      client_secret: 'pass: w%rd + more',
      grant_types: ['authorization_code', 'refresh_token', signInGrant],
      redirect_uris: ['https://program.example/callback'],
    }],
    clockTolerance: 0, // the default takes tokens that ended 15 seconds ago
    cookies: { keys: ['a key of this test'] },
    features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    ttl: { AccessToken: lifetime, Grant: 3600, IdToken: 3600, RefreshToken: 3600 },
  })

  // A sign-in without a browser: what the test says is who the user is.
  provider.registerGrantType(signInGrant, async (ctx) => {
    const { client, params } = ctx.oidc
    const accountId = params.username
    const grant = new provider.Grant({ accountId, clientId: client.clientId })
    grant.addOIDCScope(scope)
    const grantId = await grant.save()
    grants.add(grantId)
    const of = { accountId, client, grantId, gty: signInGrant, scope }
    const access = new provider.AccessToken(of)
    const refresh = new provider.RefreshToken(of)
    counts.signIns++
    ctx.body = {
      access_token: await access.save(),
      expires_in: access.expiration,
      refresh_token: await refresh.save(),
      scope,
      token_type: access.tokenType,
    }
  }, ['username'])

  provider.use(async (ctx, next) => {
    await next()
    const { params, route } = ctx.oidc ?? {}
    if (route === 'revocation') counts.revocations++
    if (route !== 'token' || params?.grant_type !== 'refresh_token') return
    counts.refreshes++
    if (ctx.status === 200) counts.refreshed++
    const times = (spent.get(params.refresh_token) ?? 0) + 1
    spent.set(params.refresh_token, times)
    counts.mostSpent = Math.max(counts.mostSpent, times)
  })
  return provider
}

function answer(res, status, body, header = {}) {
  res.writeHead(status, { 'content-type': 'application/json', ...header })
  res.end(JSON.stringify(body))
}

// The API decides before it reads a body, as servers do that check tokens first.
async function api(provider, req, res) {
  counts.requests++
  const given = /^Bearer (\S+)$/.exec(req.headers.authorization ?? '')
  const token = given && await provider.AccessToken.find(given[1])
  if (!token) {
    counts.refused++
    const error = given ? ', error="invalid_token"' : ''
    answer(res, 401, { error: 'invalid_token' }, { 'www-authenticate': `Bearer realm="api"${error}` })
    return
  }
  if (req.method === 'GET') {
    answer(res, 200, { username: token.accountId })
    return
  }
  const hash = createHash('sha256')
  for await (const chunk of req) hash.update(chunk)
  answer(res, 200, { sha256: hash.digest('hex') })
}

const server = http.createServer()
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`
  const provider = newProvider(url)
  const rest = provider.callback()
  server.on('request', async (req, res) => {
    if (req.url.startsWith('/api/')) {
      await api(provider, req, res)
    } else if (req.url === '/_test/counts') {
      answer(res, 200, counts)
    } else if (req.url === '/_test/revoke') {
      for (const grant of grants) {
        await provider.RefreshToken.revokeByGrantId(grant)
        await provider.Grant.adapter.destroy(grant)
      }
      answer(res, 200, {})
    } else {
      rest(req, res)
    }
  })
  console.log(`listening on ${url}`)
})
process.stdin.on('end', () => process.exit()).resume()
