package orders

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// An Order is an order of a customer.
type Order struct {
	ID       int    `json:"id,omitzero"` // assigned by the service
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// Place places an order and returns it as the service has recorded it.
func (c *Client) Place(ctx context.Context, item string, quantity int) (Order, error) {
	var placed Order
	err := c.call(ctx, http.MethodPost, "/v1/orders", Order{Item: item, Quantity: quantity}, &placed)
	return placed, err
}

// List returns the customer's orders, the oldest first.
func (c *Client) List(ctx context.Context) ([]Order, error) {
	var all []Order
	err := c.call(ctx, http.MethodGet, "/v1/orders", nil, &all)
	return all, err
}

// call sends in, unless it is nil, and reads out. It does not handle tokens.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("orders: %w", err)
		}
		body = bytes.NewReader(text) // net/http can read it again
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("orders: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return objection(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("orders: the answer cannot be read: %w", err)
	}
	return nil
}
