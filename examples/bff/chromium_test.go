package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// startChromium starts a browser with a profile of its own, and without a window.
// It ends with the test.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(needs.Program(t, "chromium", "apt-get install chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.DisableGPU,
		chromedp.IgnoreCertErrors,
		chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.WSURLReadTimeout(patience),
	)
	if os.Geteuid() == 0 { // for whom its sandbox does not work
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, end := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(end)
	ctx, endBrowser := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		bounded, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		assert.NoError(t, chromedp.Cancel(bounded))
		endBrowser()
	})
	require.NoError(t, chromedp.Do(ctx), "chromium does not start")
	return ctx
}

// A window is one tab of a browser.
type window struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the browser found wrong with the page
}

// newWindow opens a window: with WithNewBrowserContext one that shares no cookie
// with those before, else one more of the person whose window's context it is given.
func newWindow(t *testing.T, parent context.Context, opts ...chromedp.ContextOption) *window {
	t.Helper()
	ctx, closeWindow := chromedp.NewContext(parent, opts...)
	t.Cleanup(closeWindow)
	w := &window{t: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx), "no window")
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			w.problem("exception: %v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			if e.Entry.Source != log.EntrySourceNetwork { // a 401 is not a fault of the page
				w.problem("%s: %s", e.Entry.Source, e.Entry.Text)
			}
		}
	}))
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		assert.Empty(t, w.problems)
	})
	return w
}

func (w *window) problem(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *window) do(steps ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	require.NoError(w.t, chromedp.Do(ctx, steps...))
}

// wait waits until an expression of JavaScript is true, on whatever page.
func (w *window) wait(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); ; {
		// Between two pages there is nobody to ask.
		if is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression)); err == nil && is {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			text, _ := chromedp.Run(w.ctx, chromedp.Evaluate[string]("location + '\\n' + document.body.innerText"))
			require.FailNow(w.t, "it does not come to: "+expression, text)
		}
	}
}

// text is what an element says.
func (w *window) text(id string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.TextContent(chromedp.CSS("#"+id)))
	require.NoError(w.t, err)
	return strings.TrimSpace(text)
}

// number is an expression for a counter of the page.
func number(id string) string {
	return fmt.Sprintf("Number(document.getElementById(%q)?.textContent.replaceAll(',', ''))", id)
}

// signIn signs a user in, by keyboard alone: the name has the focus.
func (w *window) signIn(url, user string) {
	w.t.Helper()
	w.do(
		chromedp.Navigate(url),
		chromedp.WaitVisible(chromedp.CSS("#user:focus")),
		chromedp.KeyEvent(user+"\t"+demoPassword+"\r"),
	)
	w.wait(`location.pathname === "/" && document.getElementById("user")?.textContent === "` + user + `"`)
}

// calm checks that no call has failed.
func (w *window) calm() {
	w.t.Helper()
	assert.Equal(w.t, "0", w.text("failed"), w.text("status"))
}

// awaitSignInPage waits until the page has gone to the sign-in page, and says why.
func (w *window) awaitSignInPage(notice string) {
	w.t.Helper()
	w.wait(`location.pathname === "/sign-in" && document.getElementById("notice")?.textContent === "` + notice + `"`)
}

// wear sets the colours and the size of the window.
func (w *window) wear(scheme string, width, height int64) {
	w.t.Helper()
	w.do(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

// assertNothingSticksOut checks that nobody has to scroll sideways.
func (w *window) assertNothingSticksOut() {
	w.t.Helper()
	outside, err := chromedp.Run(w.ctx, chromedp.Evaluate[[]string](`[...document.querySelectorAll("body *:not(.skip)")]
		.filter((e) => e.getBoundingClientRect().right > innerWidth)
		.map((e) => e.tagName + "#" + e.id + "." + e.className)`))
	require.NoError(w.t, err)
	assert.Empty(w.t, outside)
}

// cookies are what the browser keeps for the page.
func (w *window) cookies() []*network.Cookie {
	w.t.Helper()
	got, err := chromedp.Run(w.ctx, func(ctx context.Context, t *chromedp.Target) (network.GetCookiesResult, error) {
		return cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{})
	})
	require.NoError(w.t, err)
	return got.Cookies
}

// shoot writes a picture of the whole page to the folder REAUTH_SCREENSHOTS, or else
// to where the test keeps its artifacts.
func (w *window) shoot(name string) {
	w.t.Helper()
	dir := os.Getenv("REAUTH_SCREENSHOTS")
	if dir == "" {
		dir = w.t.ArtifactDir()
	}
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	require.NoError(w.t, err)
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644))
}
