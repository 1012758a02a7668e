package reauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/oauth"
	"github.com/reauth-go/reauth/reauthtest"
)

// A program calls an API for a user who has signed in. The code that sends requests
// knows nothing of tokens. The one below is refused, the token is refreshed, and the
// request is sent again.
func ExampleNew() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	signedIn := api.SignIn("ann") // the result of the sign-in page

	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL(), ClientID: "my-program"},
		Origins:   []string{api.URL},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = transport.SignIn(context.Background(), reauth.Token{
		AccessToken:  signedIn.AccessToken,
		RefreshToken: signedIn.RefreshToken,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}

	api.ExpireAccess()
	resp, err := client.Get(api.APIURL("/orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	fmt.Println("refreshes:", api.Counts().Refreshes)
	// Output:
	// 200 OK
	// refreshes: 1
}

// A program, or a library that it uses, calls http.Get throughout. A Transport in
// http.DefaultClient authenticates those requests. Requests to other origins are sent as
// before.
func ExampleNew_defaultClient() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()

	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL()},
		Origins:   []string{api.URL},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	before := http.DefaultClient.Transport
	http.DefaultClient.Transport = transport
	defer func() { http.DefaultClient.Transport = before }()

	err = transport.SignIn(context.Background(), reauth.Token(api.SignIn("ann")))
	fmt.Println(err)
	fmt.Println(answerText(http.Get(api.APIURL("/me"))))
	// Output:
	// <nil>
	// {"path":"/me","token":1,"user":"ann"}
}

// An SDK keeps its users signed in. All they see of this library is
// [reauth.ErrSignInRequired].
func Example_sdk() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()

	// In the SDK: a type, its constructor and a method.
	type Shop struct{ client *http.Client }
	newShop := func(refreshToken string) (*Shop, error) {
		transport, err := reauth.New(reauth.Config{
			Refresher: &oauth.Refresher{TokenURL: api.TokenURL(), ClientID: "shop-sdk"},
			Origins:   []string{api.URL},
		})
		if err != nil {
			return nil, err
		}
		err = transport.SignIn(context.Background(), reauth.Token{RefreshToken: refreshToken})
		return &Shop{client: &http.Client{Transport: transport}}, err
	}
	orders := func(s *Shop) string { return answerText(s.client.Get(api.APIURL("/orders"))) }

	// In the program that uses it.
	shop, err := newShop(api.SignIn("ann").RefreshToken)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(orders(shop))
	// Output: {"path":"/orders","token":2,"user":"ann"}
}

// One Transport serves all users of a program. The context picks the session of each
// request. A session has its own token and its own refreshes.
func ExampleWithSession() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport := newTransport(api)
	client := &http.Client{Transport: transport}

	for _, user := range []string{"ann", "bob"} {
		ctx := reauth.WithSession(context.Background(), user)
		if err := transport.SignIn(ctx, reauth.Token(api.SignIn(user))); err != nil {
			fmt.Println(err)
			return
		}
	}
	api.ExpireAccess("bob")

	for _, user := range []string{"ann", "bob"} {
		ctx := reauth.WithSession(context.Background(), user)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.APIURL("/me"), nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(answerText(client.Do(req)))
	}
	// Output:
	// {"path":"/me","token":1,"user":"ann"}
	// {"path":"/me","token":2,"user":"bob"}
}

// A Session is a Transport bound to one session, for a program that makes a client for
// each of its users.
func ExampleTransport_Session() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport := newTransport(api)

	ann := transport.Session("ann")
	if err := ann.SignIn(context.Background(), reauth.Token(api.SignIn("ann"))); err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: ann}
	fmt.Println(answerText(client.Get(api.APIURL("/me"))))
	// Output: {"path":"/me","token":1,"user":"ann"}
}

// A refresh endpoint that follows no standard. Only the response that means "this refresh
// token is not valid" may sign the user out. Every other failure is temporary.
func ExampleRefresherFunc() {
	api, stop := startJSONAPI("/auth/renew")
	defer stop()

	renew := func(ctx context.Context, old reauth.Token) (reauth.Token, error) {
		body := strings.NewReader(fmt.Sprintf(`{"refresh": %q}`, old.RefreshToken))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, api.APIURL("/auth/renew"), body)
		if err != nil {
			return reauth.Token{}, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return reauth.Token{}, err
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			var got struct{ Access, Refresh string }
			err = json.NewDecoder(resp.Body).Decode(&got)
			return reauth.Token{AccessToken: got.Access, RefreshToken: got.Refresh}, err
		case http.StatusUnauthorized:
			return reauth.Token{}, reauth.ErrSignInRequired
		}
		return reauth.Token{}, &reauth.RefreshError{StatusCode: resp.StatusCode}
	}

	transport, err := reauth.New(reauth.Config{
		Refresher: reauth.RefresherFunc(renew),
		Origins:   []string{api.URL},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = transport.SignIn(context.Background(), reauth.Token(api.SignIn("ann")))
	fmt.Println(err)
	api.ExpireAccess()
	client := &http.Client{Transport: transport}
	fmt.Println(answerText(client.Get(api.APIURL("/me"))))
	// Output:
	// <nil>
	// {"path":"/me","token":2,"user":"ann"}
}

// The sign-in itself goes through the same client. It must not wait for the token that
// it fetches.
func ExampleWithoutAuth() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport := newTransport(api)
	client := &http.Client{Transport: transport}
	ctx := context.Background()

	form := url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"correct horse"}}
	req, err := http.NewRequestWithContext(reauth.WithoutAuth(ctx), http.MethodPost,
		api.TokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		fmt.Println(err)
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var tok reauth.Token
	if err := json.Unmarshal([]byte(answerText(client.Do(req))), &tok); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(transport.SignIn(ctx, tok))
	fmt.Println(answerText(client.Get(api.APIURL("/me"))))
	// Output:
	// <nil>
	// {"path":"/me","token":1,"user":"ann"}
}

// A shop that visitors can browse without signing in. Their requests are sent without a
// token, and a page that needs one answers 401.
func ExampleConfig_anonymous() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	api.HandlePublic("/catalogue", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "12 books")
	}))

	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL()},
		Origins:   []string{api.URL},
		Anonymous: true,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}

	fmt.Println(answerText(client.Get(api.APIURL("/catalogue"))))
	fmt.Println(answerText(client.Get(api.APIURL("/orders"))))
	// Output:
	// 12 books
	// 401 Unauthorized
}

// A caller that gives up leaves a refresh behind, which may already have used the refresh
// token. Wait for it before the program exits.
func ExampleTransport_Wait() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport := signedInAs(api, "ann")
	api.ExpireAccess()
	answerRefresh := api.BlockRefresh()

	ctx, giveUp := context.WithCancel(context.Background())
	go func() {
		_ = api.Await(ctx, func(c reauthtest.Counts) bool { return c.Refreshes >= 1 })
		giveUp()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.APIURL("/orders"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = transport.RoundTrip(req)
	fmt.Println(err)

	answerRefresh()
	fmt.Println(transport.Wait(context.Background())) // in a real program with a deadline
	fmt.Println("refreshed:", api.Counts().RefreshesGranted)
	// Output:
	// context canceled
	// <nil>
	// refreshed: 1
}

// A token for something other than an http.Client: a WebSocket, a gRPC call, or a command
// that is started with a token in its environment. Refresh reports that it was refused.
func ExampleTransport_Token() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport := signedInAs(api, "ann")
	ctx := context.Background()

	connect := func(tok reauth.Token) bool { // stands for the other protocol
		req := httptest.NewRequest(http.MethodGet, "/stream", nil)
		req.Header.Set("Authorization", tok.Type()+" "+tok.AccessToken)
		answer := httptest.NewRecorder()
		api.ServeHTTP(answer, req)
		return answer.Code == http.StatusOK
	}

	api.ExpireAccess()
	tok, err := transport.Token(ctx)
	if err == nil && !connect(tok) {
		fmt.Println("refused")
		if tok, err = transport.Refresh(ctx, tok); err == nil {
			fmt.Println("connected:", connect(tok))
		}
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// refused
	// connected: true
}

// The library's events in a program's log. No entry contains a token.
func ExampleLogEvents() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level:       slog.LevelDebug,
		ReplaceAttr: withoutTimes,
	}))

	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL()},
		Origins:   []string{api.URL},
		OnEvent:   reauth.LogEvents(logger),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := reauth.WithSession(context.Background(), "ann")
	err = transport.SignIn(ctx, reauth.Token{RefreshToken: api.SignIn("ann").RefreshToken})
	if err == nil {
		_, err = transport.Token(ctx)
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// level=INFO msg="reauth: signed_in" session=ann
	// level=DEBUG msg="reauth: refresh_started" session=ann
	// level=DEBUG msg="reauth: locked" session=ann
	// level=DEBUG msg="reauth: refreshed" session=ann
	// level=DEBUG msg="reauth: waited" session=ann
}

// OnEvent tells a program's user interface when to show the sign-in page: once, however
// many requests fail.
func ExampleConfig_onEvent() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL()},
		Origins:   []string{api.URL},
		OnEvent: func(_ context.Context, e reauth.Event) {
			if e.Kind == reauth.EventSignInRequired {
				fmt.Println("please sign in again")
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}
	if err := transport.SignIn(context.Background(), reauth.Token(api.SignIn("ann"))); err != nil {
		fmt.Println(err)
		return
	}
	api.Revoke("ann")
	for range 3 {
		_, err := client.Get(api.APIURL("/orders"))
		fmt.Println(errors.Is(err, reauth.ErrSignInRequired))
	}
	// Output:
	// please sign in again
	// true
	// true
	// true
}

// A failed request can mean three things: the user must sign in, the token server has
// failed for now, or it has nothing to do with tokens.
func ExampleRefreshError() {
	api, stop := startAPI(reauthtest.Options{})
	defer stop()
	transport := newTransport(api)
	client := &http.Client{Transport: transport}

	get := func() {
		resp, err := client.Get(api.APIURL("/orders"))
		failed, isRefresh := errors.AsType[*reauth.RefreshError](err)
		switch {
		case errors.Is(err, reauth.ErrSignInRequired):
			fmt.Println("sign in, please")
		case isRefresh:
			fmt.Printf("try later: the token server answered %d\n", failed.StatusCode)
		case err != nil:
			fmt.Println("no answer:", err)
		default:
			defer resp.Body.Close()
			fmt.Println(resp.Status)
		}
	}

	get() // nobody has signed in yet

	if err := transport.SignIn(context.Background(), reauth.Token(api.SignIn("ann"))); err != nil {
		fmt.Println(err)
		return
	}
	get()

	api.ExpireAccess()
	api.FailRefresh(reauthtest.Failure{Status: http.StatusServiceUnavailable}, 1)
	get()
	// Output:
	// sign in, please
	// 200 OK
	// try later: the token server answered 503
}

// startAPI starts an API with a token server, both at api.URL.
func startAPI(opts reauthtest.Options) (api *reauthtest.Server, stop func()) {
	api = reauthtest.New(opts)
	server := httptest.NewServer(api)
	api.URL = server.URL
	return api, func() {
		server.Close()
		api.Close()
	}
}

// startJSONAPI starts an API that refreshes tokens at path, in JSON of its own.
func startJSONAPI(path string) (api *reauthtest.Server, stop func()) {
	api, stop = startAPI(reauthtest.Options{})
	api.HandleRefresh("POST "+path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Refresh string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, "not JSON", http.StatusBadRequest)
			return
		}
		issued, err := api.Refresh(asked.Refresh)
		if err != nil {
			http.Error(w, "sign in again", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"access": %q, "refresh": %q}`, issued.AccessToken, issued.RefreshToken)
	}))
	return api, stop
}

// newTransport returns the Transport of ExampleNew.
func newTransport(api *reauthtest.Server) *reauth.Transport {
	transport, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: api.TokenURL()},
		Origins:   []string{api.URL},
	})
	if err != nil {
		panic(err)
	}
	return transport
}

// signedInAs returns the same with user signed in.
func signedInAs(api *reauthtest.Server, user string) *reauth.Transport {
	transport := newTransport(api)
	if err := transport.SignIn(context.Background(), reauth.Token(api.SignIn(user))); err != nil {
		panic(err)
	}
	return transport
}

// withoutTimes removes the times from a log.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "took" {
		return slog.Attr{}
	}
	return a
}

// answerText returns the body of a response with status 200, and otherwise the status or
// the error.
func answerText(resp *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return resp.Status
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(body))
}

// A command-line tool that opens a browser when it has to. All requests that need the
// sign-in share one window.
func ExampleConfig_signIn() {
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {}))
	defer api.Close()
	tr, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: "https://id.example.com/token", ClientID: "tool"},
		Origins:   []string{api.URL},
		SignIn: func(context.Context) (reauth.Token, error) {
			fmt.Println("see the browser")
			return reauth.Token{AccessToken: "access", RefreshToken: "refresh"}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: tr}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := client.Get(api.URL)
			if err != nil {
				panic(err)
			}
			resp.Body.Close()
		})
	}
	wg.Wait()
	// Output: see the browser
}

// A step-up: the session gets a token with more rights, which other requests then use too.
func ExampleSession_Update() {
	ctx := context.Background()
	tr, err := reauth.New(reauth.Config{
		Refresher: &oauth.Refresher{TokenURL: "https://id.example.com/token", ClientID: "web"},
		Origins:   []string{"https://api.example.com"},
	})
	if err != nil {
		panic(err)
	}
	ann := tr.Session("ann")
	if err := ann.SignIn(ctx, reauth.Token{AccessToken: "few rights", RefreshToken: "refresh"}); err != nil {
		panic(err)
	}
	tok, err := ann.Update(ctx, func(_ context.Context, old reauth.Token) (reauth.Token, error) {
		// Here a program asks the token server, with old.RefreshToken.
		old.AccessToken = "more rights"
		return old, nil
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(tok.AccessToken)
	// Output: more rights
}

// A program in a Kubernetes pod calls an API with the token that is projected into it. The
// kubelet replaces the file before the token expires.
func ExampleTokenFile() {
	transport, err := reauth.New(reauth.Config{
		Refresher: reauth.TokenFile("/var/run/secrets/kubernetes.io/serviceaccount/token"),
		Origins:   []string{"https://kubernetes.default.svc"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: transport}
	_ = client
}
