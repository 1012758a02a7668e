package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/reauth-go/reauth/internal/needs"
)

// A window is one tab of a browser with a profile of its own, and without a window.
type window struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the browser found wrong with the pages
}

// newWindow opens a window, which ends with the test.
func newWindow(t *testing.T) *window {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(needs.Program(t, "chromium", "apt-get install chromium")),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.DisableGPU,
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
	w := &window{t: t, ctx: ctx}
	t.Cleanup(func() {
		bounded, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		assert.NoError(t, chromedp.Cancel(bounded))
		endBrowser()
		w.mu.Lock()
		defer w.mu.Unlock()
		assert.Empty(t, w.problems)
	})
	require.NoError(t, chromedp.Do(ctx), "chromium does not start")
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			w.problem("exception: %v", e.ExceptionDetails)
		case *runtime.EventConsoleAPICalled:
			w.problem("console: %v", e.Type)
		case *log.EventEntryAdded: // also what the content security policy blocks, and a 404
			w.problem("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	}))
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

// click clicks as soon as the element stays for long enough: the page may just be loaded
// again, and its table is replaced while the worker is busy.
func (w *window) click(selector string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector)))
		if err == nil {
			return
		}
		require.ErrorContains(w.t, err, "node with given id") // and nothing was clicked
		require.NoError(w.t, ctx.Err())
	}
}

// wait waits until an expression of JavaScript is true, on whatever page, once it is loaded.
func (w *window) wait(expression string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); ; {
		// Between two pages there is nobody to ask.
		if is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.readyState === "complete" && (`+expression+`)`)); err == nil && is {
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

// awaitRow waits until the row of an account shows a chip and has the text.
func (w *window) awaitRow(user, chip, text string) {
	w.t.Helper()
	w.wait(fmt.Sprintf(`document.querySelector("#account-%s .chip")?.textContent === %q && document.querySelector("#account-%[1]s").innerText.includes(%q)`, user, chip, text))
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

// assertFits checks that nobody has to scroll sideways, and that each button says what it
// is for.
func (w *window) assertFits() {
	w.t.Helper()
	wrong, err := chromedp.Run(w.ctx, chromedp.Evaluate[[]string](`[
		...[...document.querySelectorAll("body *:not(.unseen):not(thead *)")].filter((e) => e.getBoundingClientRect().right > innerWidth),
		...[...document.querySelectorAll("#accounts table button")].filter((e) => !e.ariaLabel.includes(e.textContent.trim())),
		...(document.documentElement.scrollWidth > innerWidth ? [document.documentElement] : []),
	].map((e) => e.tagName + "#" + e.id + "." + e.className)`))
	require.NoError(w.t, err)
	assert.Empty(w.t, wrong)
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
	require.NoError(w.t, os.WriteFile(filepath.Join(dir, "accounts-"+name+".png"), picture, 0o644))
}
