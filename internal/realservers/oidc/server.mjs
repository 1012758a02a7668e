// An OpenID provider with an API beside it, for the tests of this folder.
//
//   node server.mjs SECONDS [DPOP]
//
// serves on a free port of 127.0.0.1 until its standard input ends. Access tokens
// live SECONDS; refresh tokens rotate, and one that is used twice takes its whole
// family with it. DPOP is "plain", "nonces" or "one-time": proofs are then required, with
// nonces at the token endpoint unless plain, and at the API with ones that change each
// second and last for eight, or that are good once. Access tokens can be had for two other
// resources too, one at a time. Counts are at GET /_test/counts; POST /_test/revoke takes
// every grant back.
import { createHash, randomBytes } from 'node:crypto'
import http from 'node:http'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose' // which oidc-provider brings
import Provider, { errors } from 'oidc-provider'
import validateDpop from 'oidc-provider/lib/helpers/validate_dpop.js'

const lifetime = Number(process.argv[2])
const dpop = process.argv[3]
const signInGrant = 'urn:reauth:sign-in'
const scope = 'openid offline_access'
const resources = ['https://orders.example/', 'https://bills.example/']

const nonces = dpop === 'nonces' || dpop === 'one-time'
const counts = { requests: 0, refused: 0, signIns: 0, refreshes: 0, refreshed: 0, revocations: 0, mostSpent: 0, nonces: 0, badProofs: 0 }
const spent = new Map() // refresh token to how often it was presented
const grants = new Set()

function newProvider(issuer) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'a program',
      client_secret: 'pass: w%rd + more',
      grant_types: ['authorization_code', 'refresh_token', signInGrant],
      redirect_uris: ['https://program.example/callback'],
      ...(dpop && { dpop_bound_access_tokens: true }),
    }, ...(dpop ? [{
      client_id: 'a public program',
      token_endpoint_auth_method: 'none',
      dpop_bound_access_tokens: true,
      grant_types: ['authorization_code', 'refresh_token', signInGrant],
      redirect_uris: ['https://program.example/callback'],
    }] : [])],
    clockTolerance: 0, // the default takes tokens that ended 15 seconds ago
    cookies: { keys: ['a key of this test'] },
    features: {
      devInteractions: { enabled: false },
      dPoP: { enabled: Boolean(dpop), ...(nonces && { nonceSecret: randomBytes(32), requireNonce: () => true }) },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => {
          if (!resources.includes(resource)) throw new errors.InvalidTarget()
          return { scope: 'use', accessTokenFormat: 'opaque', accessTokenTTL: lifetime }
        },
      },
      revocation: { enabled: true },
    },
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
    for (const resource of resources) grant.addResourceScope(resource, 'use')
    const grantId = await grant.save()
    grants.add(grantId)
    const of = { accountId, client, grantId, gty: signInGrant, scope: `${scope} use` }
    const access = new provider.AccessToken({ ...of, scope })
    const refresh = new provider.RefreshToken({ ...of, resource: resources })
    const proof = await validateDpop(provider, ctx)
    if (proof) access.setThumbprint('jkt', proof.thumbprint)
    if (proof && client.clientAuthMethod === 'none') refresh.setThumbprint('jkt', proof.thumbprint)
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
    if (ctx.body?.error === 'use_dpop_nonce') return // which spends nothing
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

const unused = new Set() // nonces that are good once
const jtis = new Set()

function nextNonce(ago = 0) {
  if (dpop === 'nonces') return `second-${Math.floor(Date.now() / 1000) - ago}`
  const nonce = randomBytes(16).toString('base64url')
  unused.add(nonce)
  return nonce
}

// What is wrong with the proof of a request, as RFC 9449 section 4.3 has it. URLs are
// compared as they are.
async function proofFault(req, text, token) {
  let proof
  try {
    proof = await jwtVerify(req.headers.dpop, EmbeddedJWK, { algorithms: ['ES256', 'EdDSA'], typ: 'dpop+jwt' })
  } catch {
    return 'invalid_dpop_proof'
  }
  const { payload, protectedHeader } = proof
  const hash = createHash('sha256').update(text).digest('base64url')
  const url = `http://${req.headers.host}${req.url.split('?')[0]}`
  if (payload.htm !== req.method || payload.htu !== url || payload.ath !== hash) return 'invalid_dpop_proof'
  if (!payload.jti || jtis.has(payload.jti)) return 'invalid_dpop_proof'
  jtis.add(payload.jti)
  if (dpop === 'nonces' && ![0, 1, 2, 3, 4, 5, 6, 7].map(nextNonce).includes(payload.nonce)) return 'use_dpop_nonce'
  if (dpop === 'one-time' && !unused.delete(payload.nonce)) return 'use_dpop_nonce'
  if (dpop === 'plain' && Math.abs(Date.now() / 1000 - payload.iat) > 10) return 'invalid_dpop_proof'
  if (!token || token.jkt !== await calculateJwkThumbprint(protectedHeader.jwk)) return 'invalid_token'
  return ''
}

// The API decides before it reads a body, as servers do that check tokens first.
async function api(provider, req, res) {
  counts.requests++
  const given = (dpop ? /^DPoP (\S+)$/ : /^Bearer (\S+)$/).exec(req.headers.authorization ?? '')
  const token = given && await provider.AccessToken.find(given[1])
  const fault = given && dpop ? await proofFault(req, given[1], token) : token ? '' : 'invalid_token'
  if (nonces) res.setHeader('dpop-nonce', nextNonce())
  if (fault === 'use_dpop_nonce') counts.nonces++
  if (fault === 'invalid_dpop_proof') counts.badProofs++
  if (fault) {
    counts.refused++
    const error = given ? `, error="${fault}"` : ''
    answer(res, 401, { error: fault }, { 'www-authenticate': `${dpop ? 'DPoP' : 'Bearer'} realm="api"${error}` })
    return
  }
  if (req.method === 'GET') {
    answer(res, 200, { username: token.accountId, resource: token.aud })
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
