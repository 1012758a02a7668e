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

func place(t *testing.T, method, target string) evidence.Place {
	t.Helper()
	u, err := url.Parse(target)
	require.NoError(t, err)
	return evidence.PlaceOf(&http.Request{Method: method, URL: u})
}

func endpoint(t *testing.T, method, target string) (at, origin evidence.Endpoint) {
	t.Helper()
	p := place(t, method, target)
	return p.At, p.Origin
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
	assert.Equal(t, at("GET", "https://api.example.com/"), at("", "https://api.example.com"), "as they are sent")
	assert.Equal(t, place(t, "GET", "https://api.example.com/"), place(t, "", "https://api.example.com?page=2"))
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
	table.Accept(at, 4)
	assert.True(t, table.Accepted(at, 6, 0), "an answer to an earlier one comes late")
	var last evidence.Table
	last.Accept(at, 1<<16-1)
	assert.True(t, last.Accepted(at, 0, 1), "after the last number comes the first")
	last.Accept(at, 0)
	assert.True(t, last.Accepted(at, 0, 0))
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

func TestWhatIsOneFolder(t *testing.T) {
	in := func(target string) evidence.Endpoint { return place(t, "GET", "https://api.example.com"+target).Folder }
	assert.Equal(t, in("/users/ann"), in("/users/bob?page=2"))
	assert.Equal(t, in("/users/7/orders"), in("/users/8/invoices"))
	assert.Equal(t, in("/me"), in("/admin"))
	for _, other := range []string{"/users", "/users/7/orders", "/groups/ann"} {
		assert.NotEqual(t, in("/users/ann"), in(other), other)
	}
	assert.NotEqual(t, in("/users/ann"), place(t, "GET", "https://other.example.com/users/ann").Folder)
}

const s1 = time.Second

func TestAPauseDoublesOncePerToken(t *testing.T) {
	var p evidence.Pauses
	at := place(t, "GET", "https://api.example.com/admin")
	for i, want := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
		p.Set(0, at, uint16(i), 5*s1, false)
		p.Set(s1, at, uint16(i), 5*s1, true) // of a request that was refused at the same time
		assert.Equal(t, want*s1, p.Left(0, at, false))
	}
	p.Set(0, at, 100, 5*s1, true)
	assert.Equal(t, 5*s1, p.Left(0, at, false), "it does not double")
	assert.Equal(t, 5*s1, p.Left(0, at, true))
	p.Set(0, at, 101, 5*s1, false)
	assert.Zero(t, p.Left(0, at, true), "it has accepted a token since")
	p = nil
	p.Set(0, at, 1, 0, false)
	p.Set(0, at, 2, -s1, false)
	assert.Empty(t, p, "without a pause")
	assert.Negative(t, p.Left(s1, at, false))
	p.Set(0, at, 3, time.Hour, false)
	assert.Equal(t, time.Hour, p.Left(0, at, false), "one that is longer than five minutes stays as it is")
	assert.True(t, p.Matter(time.Hour-1, 0, s1))
	assert.False(t, p.Matter(time.Hour, 0, s1))
}

func TestManyEndpointsOfAFolderThatRefuseSpeakForTheOthers(t *testing.T) {
	var p evidence.Pauses
	in := func(path string) evidence.Place { return place(t, "GET", "https://api.example.com"+path) }
	unknown, elsewhere := in("/admin/unknown"), in("/me")
	for i, want := range []time.Duration{5, 5, 5, 10, 20, 40, 80, 160, 300, 300} {
		assert.Equal(t, want*s1, p.Stretch(unknown, 5*s1), "%d others", i)
		assert.Equal(t, 5*s1, p.Stretch(elsewhere, 5*s1))
		p.Set(0, in("/admin/"+string(rune('a'+i))), 1, 5*s1, false)
	}
	assert.Equal(t, -s1, p.Stretch(unknown, -s1), "without a pause")
	assert.True(t, p.Matter(400*s1-1, 100*s1, 5*s1), "those that are not known are not believed yet")
	assert.False(t, p.Matter(400*s1, 100*s1, 5*s1))
}

func TestPausesAreBounded(t *testing.T) {
	var p evidence.Pauses
	p.Set(0, evidence.Place{At: 1}, 1, s1, false)
	p.Set(302*s1-1, evidence.Place{At: 2}, 1, s1, false)
	assert.Len(t, p, 2, "one that was on until lately may double")
	p.Set(302*s1, evidence.Place{At: 3}, 1, s1, false)
	assert.Len(t, p, 2, "one that is long over makes room")
	for i := range 1000 {
		p.Set(302*s1, evidence.Place{At: evidence.Endpoint(i + 10)}, 1, time.Hour, false)
		assert.LessOrEqual(t, len(p), 64)
		assert.Equal(t, time.Hour, p.Left(302*s1, evidence.Place{At: evidence.Endpoint(i + 10)}, false))
	}
	assert.Len(t, p, 64)
}
