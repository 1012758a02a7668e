package main

import (
	_ "embed"
	"encoding/json"
	"strings"
)

//go:embed dashboard.json
var dashboardJSON []byte

// A dashboard is what this program reads of the JSON that Grafana imports.
type dashboard struct {
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Type        string `json:"type"`
	Description string `json:"description"`
	Datasource  struct {
		Type, UID string
	} `json:"datasource"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []target `json:"targets"`
}

type target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

func loadDashboard() (d dashboard, err error) {
	err = json.Unmarshal(dashboardJSON, &d)
	return d, err
}

// query is the target's expression with values for the variables of Grafana.
func (t target) query(interval string) string {
	return strings.NewReplacer("$__rate_interval", interval, "$job", ".*").Replace(t.Expr)
}

// legend names a series as Grafana does.
func (t target) legend(labels map[string]string) string {
	name := t.LegendFormat
	for k, v := range labels {
		name = strings.ReplaceAll(name, "{{"+k+"}}", v)
	}
	return strings.TrimSpace(name)
}
