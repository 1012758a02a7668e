package reauthtest

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issued is the result of a sign-in or a refresh. It has the fields of the reauth
// package's Token, so that one converts to the other:
//
//	err := transport.SignIn(ctx, reauth.Token(s.SignIn("ann")))
//
// Its JSON form is that of a stored token. An answer of a token endpoint is another, with
// expires_in in place of expiry: a client that is sent this one does not learn the expiry.
//
// Printing one, with any verb of package fmt or as an attribute of log/slog,
// shows no token; its JSON form does.
type Issued struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"` // empty if none was issued

	// Expiry is when the API will begin to refuse the access token, by the local clock
	// whatever the server's ClockSkew. It is zero if the token does not expire. Set it
	// to zero to test a client that does not know the expiry.
	Expiry time.Time `json:"expiry,omitzero"`

	RefreshExpiry time.Time `json:"refresh_expiry,omitzero"` // always zero
	RefreshAfter  time.Time `json:"refresh_after,omitzero"`  // always zero
	SignInID      string    `json:"sign_in_id,omitempty"`    // always empty

	Extra map[string]string `json:"extra,omitempty"` // always nil
}

// String describes the tokens without showing them.
func (i Issued) String() string {
	var parts []string
	if i.AccessToken != "" {
		parts = append(parts, "access token")
	}
	if i.RefreshToken != "" {
		parts = append(parts, "refresh token")
	}
	if !i.Expiry.IsZero() {
		parts = append(parts, "expires "+i.Expiry.Round(0).Format(time.RFC3339))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Format writes String whatever the verb.
func (i Issued) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(i.String())) }

// LogValue is String.
func (i Issued) LogValue() slog.Value { return slog.StringValue(i.String()) }

// issued is an Issued with additional data for the answer.
type issued struct {
	Issued
	at time.Time
}

// expiresIn is the lifetime that an answer states now, in seconds.
func (i issued) expiresIn(lifetime time.Duration) float64 {
	left := lifetime - time.Since(i.at).Truncate(time.Second) // shorter only within a ReuseInterval
	return stated(lifetime, max(left, 0).Seconds())
}

// stated rounds a number of seconds as tokens of this lifetime state it.
func stated(lifetime time.Duration, seconds float64) float64 {
	if lifetime < time.Second {
		return seconds
	}
	return float64(int64(seconds))
}

// issue makes the session's next generation. It is called with the mutex held.
func (i *issuer) issue(of *session, withRefreshToken bool) issued {
	of.generation++
	out := issued{Issued: Issued{TokenType: i.opts.TokenType}, at: time.Now()}
	if i.opts.AccessLifetime > 0 {
		out.Expiry = out.at.Add(i.opts.AccessLifetime)
	}
	if i.opts.Opaque {
		out.AccessToken = rand.Text()
	} else {
		out.AccessToken = i.sign(of.user)
	}
	i.access[out.AccessToken] = &accessToken{session: of, generation: of.generation, expiry: out.Expiry}
	if withRefreshToken {
		out.RefreshToken = rand.Text()
		i.refresh[out.RefreshToken] = &refreshToken{session: of}
	}
	return out
}

// sign makes a JWT. Its random "jti" makes it unique.
func (i *issuer) sign(user string) string {
	now, life := i.clock(), i.opts.AccessLifetime
	claims := jwt.MapClaims{
		"iss": "reauthtest",
		"sub": user,
		"iat": now.Unix(),
		"jti": rand.Text(),
	}
	if life > 0 {
		claims["exp"] = stated(life, float64(now.Add(life).UnixMicro())/1e6)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(i.key)
	if err != nil {
		panic("reauthtest: signing a JWT: " + err.Error()) // claims of basic types, a key of bytes
	}
	return text
}
