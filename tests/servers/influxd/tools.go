//go:build tools

// Package tools names the programs that `cargo xtask servers` builds for the tests. Nothing of them is here.
package tools

import (
	_ "github.com/influxdata/influxdb/v2/cmd/influxd"
	_ "github.com/influxdata/pkg-config"
)
