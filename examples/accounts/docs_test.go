package main

import (
	"testing"

	"github.com/reauth-go/reauth/internal/docs"
)

func TestDocs(t *testing.T) { docs.Check(t) }
