package evidence_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/evidence"
)

func endpoint(t *testing.T, method, target string) (at, origin evidence.Endpoint) {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	return evidence.EndpointOf(&http.Request{Method: method, URL: u})
}

func TestWhatIsOneEndpoint(t *testing.T) {
	at := func(method, url string) evidence.Endpoint { e, _ := endpoint(t, method, url); return e }
	me := at("GET", "https://api.example.com/users/17/orders")
	for _, same := range []string{"https://api.example.com/users/a7f3/orders", "https://api.example.com/users/2/orders?page=3#part"} {
		assert.Equal(t, me, at("GET", same), same)
	}
	for _, other := range []string{
		"https://api.example.com/users/ann/orders", "https://api.example.com/users/17",
		"http://api.example.com/users/17/orders", "https://api.example.com:8443/users/17/orders", "https://api.example.com/",
	} {
		assert.NotEqual(t, me, at("GET", other), other)
	}
	assert.NotEqual(t, me, at("POST", "https://api.example.com/users/17/orders"))
	_, origin := endpoint(t, "GET", "https://api.example.com/a")
	_, same := endpoint(t, "POST", "https://api.example.com/b")
	_, other := endpoint(t, "GET", "http://api.example.com/a")
	assert.Equal(t, origin, same)
	assert.NotEqual(t, origin, other)
}

func TestWhatATableShows(t *testing.T) {
	var table evidence.Table
	at, origin := endpoint(t, "GET", "https://api.example.com/me")
	assert.False(t, table.Accepted(at, 5, 1))
	table.Accept(at, 5)
	assert.True(t, table.Accepted(at, 5, 0))
	assert.True(t, table.Accepted(at, 6, 1), "the one before")
	assert.False(t, table.Accepted(at, 6, 0))
	assert.False(t, table.Accepted(at, 7, 1))
	assert.False(t, table.Accepted(at, 4, 1), "a later one says nothing")
	assert.False(t, table.Accepted(origin, 5, 1))
	table.Accept(at, 6)
	assert.False(t, table.Accepted(at, 5, 0), "the latest counts")
	table.Accept(at, 1<<16-1)
	assert.True(t, table.Accepted(at, 0, 1), "after the last number comes the first")
	assert.False(t, (*evidence.Table)(nil).Accepted(at, 5, 1))
}

func TestAnEndpointDoesNotTakeThePlaceOfItsOrigin(t *testing.T) {
	for i := range 1000 {
		at, origin := endpoint(t, "GET", fmt.Sprintf("https://api-%d.example.com/me", i))
		var table evidence.Table
		table.Accept(at, 1)
		table.Accept(origin, 1)
		require.True(t, table.Accepted(at, 1, 0))
		require.True(t, table.Accepted(origin, 1, 0))
	}
}

func TestPausesAreBounded(t *testing.T) {
	var p evidence.Pauses
	p.Set(0, 1, time.Second)
	p.Set(time.Second, 2, 3*time.Second)
	assert.Equal(t, evidence.Pauses{2: 3 * time.Second}, p, "one that is over makes room")
	for i := range 1000 {
		p.Set(time.Second, evidence.Endpoint(i), time.Hour)
		assert.LessOrEqual(t, len(p), 64)
		assert.Equal(t, time.Hour, p[evidence.Endpoint(i)])
	}
	assert.Len(t, p, 64)
}
