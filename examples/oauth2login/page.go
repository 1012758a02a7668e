package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/oauth2"

	"github.com/reauth-go/reauth"
)

// A page prints messages for the user. It shows no token.
type page struct {
	mu       sync.Mutex // refreshes are reported from their own goroutines
	out      io.Writer
	signIns  int
	answers  int
	failures int
	renewals int
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

// invite shows the address for the sign-in. It is valid for one sign-in, and useless
// without the verifier that this program keeps.
func (p *page) invite(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf("To sign in, open this in a browser:\n\n    %s\n\n", url)
}

func (p *page) signedIn(tok *oauth2.Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signIns++
	p.printf("Signed in.\n")
	if tok.RefreshToken == "" {
		p.printf("There is no refresh token: when the access token ends you have to sign in again.\n" +
			"Providers give one for the scope offline_access, or want another parameter in -auth-url.\n")
	}
}

func (p *page) answered(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers++; p.answers == 1 {
		p.printf("The API says: %s\n", printable(text))
	}
}

func (p *page) lost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures++
	p.printf("A request had no answer: %v\n", err)
}

// event is for [reauth.Config.OnEvent].
func (p *page) event(_ context.Context, e reauth.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case reauth.EventRefreshed:
		p.renewals++
		p.printf("%4d answers: renewed for the %s\n", p.answers, times(p.renewals))
	case reauth.EventReplayed:
		p.printf("%4d answers: a request was refused and sent again\n", p.answers)
	case reauth.EventSignInRequired:
		p.printf("%4d answers: the session has ended\n", p.answers)
	}
}

func (p *page) renewedOften(enough int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renewals >= enough
}

func (p *page) sum() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printf("%d requests: %d answered, %d lost. Renewals: %d. Sign-ins: %d.\n",
		p.answers+p.failures, p.answers, p.failures, p.renewals, p.signIns)
}

// times writes "1st time", "2nd time".
func times(n int) string {
	suffix := "th"
	if n%100/10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s time", n, suffix)
}

// printable returns the beginning of text, on one line and without characters that would
// change the terminal.
func printable(text string) string {
	const most = 200
	runes := []rune(strings.TrimSpace(text))
	if len(runes) > most {
		runes = append(runes[:most], []rune("...")...)
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	return string(runes)
}
