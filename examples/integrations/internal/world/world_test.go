package world_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/reauth-go/reauth/examples/integrations/internal/world"
	"github.com/reauth-go/reauth/reauthtest"
)

func TestAPlainClientLosesNothing(t *testing.T) {
	t.Parallel()
	w := world.New(t, reauthtest.Options{})
	client := w.Client()
	w.RevokeUnderWay(t, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.APIURL("/"), nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}
