package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// A server is a Prometheus that scrapes one target.
type server struct {
	url    string
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startPrometheus starts the program prometheus on a free port of the loopback interface.
func startPrometheus(ctx context.Context, program, target string, interval time.Duration) (*server, error) {
	dir, err := os.MkdirTemp("", "reauth-prometheus-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, exited: make(chan struct{})}
	config := fmt.Sprintf("scrape_configs:\n- job_name: example\n  scrape_interval: %dms\n  scrape_timeout: %[1]dms\n  static_configs: [{targets: [%q]}]\n", interval.Milliseconds(), target)
	file := filepath.Join(dir, "prometheus.yml")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = os.WriteFile(file, []byte(config), 0o600)
		_ = listener.Close()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	address := listener.Addr().String()
	s.url = "http://" + address
	s.cmd = exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=error")
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() { // ends with the program
		defer close(s.exited)
		_ = s.cmd.Wait()
	}()
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) awaitReady(ctx context.Context) error {
	for {
		resp, err := http.Get(s.url + "/-/ready")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.exited:
			return errors.New("prometheus has exited")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *server) stop() error {
	_ = s.cmd.Process.Kill() // what it has stored is removed
	<-s.exited
	return os.RemoveAll(s.dir)
}

// A curve is a series of an answer.
type curve struct {
	Labels map[string]string `json:"metric"`
	Values []point           `json:"values"`
}

// A point is a time in seconds, and a value.
type point struct{ at, value float64 }

func (p *point) UnmarshalJSON(text []byte) error {
	var value string
	if err := json.Unmarshal(text, &[]any{&p.at, &value}); err != nil {
		return err
	}
	var err error
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

// query evaluates an expression at every second from begin to end.
func (s *server) query(ctx context.Context, expr string, begin, end time.Time) ([]curve, error) {
	form := url.Values{"query": {expr}, "step": {"1"}, "start": {seconds(begin)}, "end": {seconds(end)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/v1/query_range?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []curve }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	return answer.Data.Result, nil
}

func seconds(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}
