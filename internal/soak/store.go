package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/reauth-go/reauth"
	"github.com/reauth-go/reauth/filestore"
	"github.com/reauth-go/reauth/redisstore"
)

// lease is how long Redis keeps a lock for a process of which it hears nothing. With
// files it is kept for a process that stands still, and free once that is gone.
const lease = 5 * time.Second

// A sharedStore is what the processes share, seen from the one that starts them.
type sharedStore struct {
	dsn  string // tells openStore what to open
	port string // of Redis; "": there is none
	dir  string
	cmd  *exec.Cmd

	restarts, cuts int
}

func startStore(kind, dir string) (*sharedStore, error) {
	switch kind {
	case "file":
		return &sharedStore{dsn: "file:" + filepath.Join(dir, "sessions")}, nil
	case "redis":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, err
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		s := &sharedStore{dsn: "redis:127.0.0.1:" + port, port: port, dir: dir}
		return s, s.startRedis()
	}
	return nil, fmt.Errorf("-store %q is neither file nor redis", kind)
}

// openStore opens the store in whichever process.
func openStore(dsn string) (reauth.Store, error) {
	if dir, ok := strings.CutPrefix(dsn, "file:"); ok {
		return filestore.New(dir, nil)
	}
	client := redis.NewClient(&redis.Options{Addr: strings.TrimPrefix(dsn, "redis:")})
	return redisstore.New(client, &redisstore.Options{Lease: lease}), nil
}

// startRedis starts Redis, which writes to disk before it answers, and waits for it.
func (s *sharedStore) startRedis() error {
	s.cmd = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--logfile", "redis.log")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the processes first
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("%w; it is in the package redis-server", err)
	}
	return s.withClient(func(ctx context.Context, client *redis.Client) error {
		for {
			err := client.Ping(ctx).Err()
			if err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

func (s *sharedStore) withClient(do func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + s.port})
	defer client.Close()
	return do(ctx, client)
}

// restart stops Redis and starts it again with what it has on disk.
func (s *sharedStore) restart() error {
	if s.port == "" {
		return nil
	}
	s.stop()
	s.restarts++
	return s.startRedis()
}

// cut cuts all connections of all clients, whatever they are in the middle of.
func (s *sharedStore) cut() error {
	if s.port == "" {
		return nil
	}
	s.cuts++
	return s.withClient(func(ctx context.Context, client *redis.Client) error {
		for _, kind := range []string{"normal", "pubsub"} {
			if err := client.Do(ctx, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes").Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *sharedStore) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}
