// An OpenID provider to sign in at, for this example and its tests.
//
//   node server.mjs SECONDS
//
// serves on a free port of 127.0.0.1 until its standard input ends. It accepts any
// user name. Its only client is a native application (RFC 8252), with PKCE and without
// a secret, and redirects to any port of this machine. Access tokens live SECONDS.
// Refresh tokens rotate, and using one twice revokes the whole family. The counts are
// at GET /_test/counts, and POST /_test/revoke revokes every grant.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import http from 'node:http'
import Provider from 'oidc-provider'

const lifetime = Number(process.argv[2])

const counts = { exchanges: 0, refreshes: 0, refreshed: 0, mostSpent: 0, asked: 0, refused: 0, revocations: 0 }
const spent = new Map() // refresh token to how often it was presented
const grants = new Set()

function newProvider(issuer) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'oauth2login',
      application_type: 'native',
      token_endpoint_auth_method: 'none', // and so PKCE is required
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: ['http://127.0.0.1/callback'],
    }],
    clockTolerance: 0, // the default takes tokens that ended 15 seconds ago
    cookies: { keys: [randomBytes(32).toString('hex')] },
    features: { devInteractions: { enabled: false }, revocation: { enabled: true } },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    jwks: { keys: [privateKey.export({ format: 'jwk' })] },
    rotateRefreshToken: true,
    ttl: { AccessToken: lifetime, Grant: 3600, IdToken: 3600, Interaction: 3600, RefreshToken: 3600, Session: 3600 },
  })
  provider.use(async (ctx, next) => {
    await next()
    count(ctx)
  })
  return provider
}

function count(ctx) {
  const { params, route } = ctx.oidc ?? {}
  if (route === 'revocation') counts.revocations++
  if (route === 'userinfo') {
    counts.asked++
    if (ctx.status === 401) counts.refused++
  }
  if (route !== 'token') return
  if (params?.grant_type !== 'refresh_token') {
    counts.exchanges++
    return
  }
  counts.refreshes++
  if (ctx.status === 200) counts.refreshed++
  const times = (spent.get(params.refresh_token) ?? 0) + 1
  spent.set(params.refresh_token, times)
  counts.mostSpent = Math.max(counts.mostSpent, times)
}

// interaction asks the user for a name, and for consent.
async function interaction(provider, req, res) {
  const { params, prompt, session } = await provider.interactionDetails(req, res)
  if (prompt.name === 'consent') { // given already, with the name
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    const grantId = await grant.save()
    grants.add(grantId)
    await provider.interactionFinished(req, res, { consent: { grantId } })
    return
  }
  if (req.method !== 'POST') {
    res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
    res.end(page(req.url))
    return
  }
  const form = new URLSearchParams(await text(req))
  const result = form.has('deny')
    ? { error: 'access_denied', error_description: 'the user said no' }
    : { login: { accountId: form.get('user') || 'ann' } }
  await provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false })
}

const page = (action) => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Sign in</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 22rem; margin: 15vh auto; padding: 0 1rem }
  input, button { font: inherit; padding: .4rem .8rem }
  input { display: block; width: 100%; box-sizing: border-box; margin: .25rem 0 1rem }
</style>
<h1>Sign in</h1>
<p>The program oauth2login asks to act for you.</p>
<form method="post" action="${action}">
  <label>Your name <input name="user" value="ann" autocomplete="username" autofocus></label>
  <button name="allow">Sign in</button>
  <button name="deny">Deny</button>
</form>
</html>
`

async function text(req) {
  let all = ''
  for await (const chunk of req.setEncoding('utf8')) all += chunk
  return all
}

function answer(res, status, body) {
  res.writeHead(status, { 'content-type': 'application/json' })
  res.end(JSON.stringify(body))
}

const server = http.createServer()
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`
  const provider = newProvider(url)
  const rest = provider.callback()
  server.on('request', async (req, res) => {
    try {
      if (/^\/interaction\/[\w-]+$/.test(req.url)) {
        await interaction(provider, req, res)
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
    } catch (err) { // a sign-in that is over, as an example
      console.error(err)
      if (!res.headersSent) res.writeHead(400)
      res.end('That did not work. Begin again.\n')
    }
  })
  console.log(`listening on ${url}`)
})
process.on('SIGINT', () => {}) // meant for the program that has started this one
process.stdin.on('end', () => process.exit()).resume()
