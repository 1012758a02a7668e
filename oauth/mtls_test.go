package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
)

// A certBase is a base transport whose client certificate can be replaced. A connection
// keeps the certificate that it began with, and an HTTP/2 connection is never idle while
// requests are under way. So each certificate has a transport of its own.
type certBase struct {
	roots   *x509.CertPool
	current atomic.Pointer[http.Transport]
}

func (b *certBase) use(cert tls.Certificate) {
	next := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: b.roots, Certificates: []tls.Certificate{cert}},
	}
	if before := b.current.Swap(next); before != nil {
		before.CloseIdleConnections() // the others close once they are idle
	}
}

func (b *certBase) RoundTrip(req *http.Request) (*http.Response, error) {
	return b.current.Load().RoundTrip(req)
}

func (b *certBase) CloseIdleConnections() { b.current.Load().CloseIdleConnections() }

// A certServer is a token server and an API that know clients by their certificates (RFC
// 8705 section 2.1), and bind access tokens to them (section 3).
type certServer struct {
	*httptest.Server

	mu      sync.Mutex
	bound   map[string][32]byte // access token to the hash of a certificate
	refresh int                 // the number of the refresh token that is good
	reused  int
	hold    chan struct{} // requests for /slow wait for it
	held    chan struct{} // and say so
}

func (s *certServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	cert := req.TLS.PeerCertificates[0]
	thumbprint := sha256.Sum256(cert.Raw)
	if req.URL.Path == "/token" {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case req.PostFormValue("client_id") != cert.Subject.CommonName:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"error":"invalid_client"}`)
		case req.PostFormValue("refresh_token") != fmt.Sprint("secret-refresh-", s.refresh):
			s.reused++
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"error":"invalid_grant"}`)
		default:
			s.refresh++
			access := fmt.Sprint("secret-access-", s.refresh)
			s.bound[access] = thumbprint
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"refresh_token":"secret-refresh-%d","token_type":"Bearer","expires_in":300}`, access, s.refresh)
		}
		return
	}
	access, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	good := s.bound[access] == thumbprint
	s.mu.Unlock()
	if !good {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`) // section 3
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if req.URL.Path == "/slow" {
		s.held <- struct{}{}
		<-s.hold
	}
}

// newCert returns a certificate for a client, signed by parent or, if that is nil, by itself.
func newCert(t *testing.T, name string, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := template, any(key)
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), signerKey)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// RFC 8705: the client authenticates with a certificate, which is replaced while the program
// runs, and access tokens are good only beside the certificate that they were issued to.
func TestAClientCertificateMayBeReplaced(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%t", http2), func(t *testing.T) {
			authority := newCert(t, "authority", nil)
			clients := x509.NewCertPool()
			clients.AddCert(authority.Leaf)
			s := &certServer{refresh: 1, bound: map[string][32]byte{}, hold: make(chan struct{}), held: make(chan struct{})}
			s.Server = httptest.NewUnstartedServer(s)
			s.EnableHTTP2 = http2
			s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
			s.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that are closed unused
			s.StartTLS()
			t.Cleanup(s.Close)

			base := &certBase{roots: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
			base.use(newCert(t, "my-program", &authority))
			t.Cleanup(base.CloseIdleConnections)
			var refreshes atomic.Int32
			tr, err := reauth.New(reauth.Config{
				Refresher: &oauth.Refresher{TokenURL: s.URL + "/token", ClientID: "my-program", Client: &http.Client{Transport: base}},
				Base:      base,
				Origins:   []string{s.URL},
				OnEvent: func(_ context.Context, e reauth.Event) {
					if e.Kind == reauth.EventRefreshed {
						refreshes.Add(1)
					}
				},
			})
			require.NoError(t, err)
			require.NoError(t, tr.SignIn(t.Context(), reauth.Token{RefreshToken: "secret-refresh-1"}))
			get := func(path string) {
				resp, err := (&http.Client{Transport: tr}).Get(s.URL + path)
				if assert.NoError(t, err) {
					assert.Equal(t, http.StatusOK, resp.StatusCode)
					assert.NoError(t, resp.Body.Close())
				}
			}
			storm := func() {
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() { get("/") })
				}
				wg.Wait()
			}
			storm()
			require.EqualValues(t, 1, refreshes.Load())

			var slow sync.WaitGroup
			slow.Go(func() { get("/slow") })
			<-s.held // a request is under way with the certificate from before
			base.use(newCert(t, "my-program", &authority))
			storm()
			assert.EqualValues(t, 2, refreshes.Load())
			close(s.hold)
			slow.Wait()
			get("/") // so that it is the last endpoint that is known to accept the token

			base.use(newCert(t, "another-program", &authority))
			_, err = (&http.Client{Transport: tr}).Get(s.URL + "/")
			require.ErrorContains(t, err, "invalid_client")
			require.NotErrorIs(t, err, reauth.ErrSignInRequired)
			signedIn, err := tr.SignedIn(t.Context())
			require.NoError(t, err)
			assert.True(t, signedIn)
			assert.Zero(t, s.reused)
		})
	}
}
