// Command dapr renders Dapr's Helm chart for the appliance: dapr-crds.yaml and dapr.yaml,
// which k3s applies in this order from its manifests folder.
//
//	dapr -values values.yaml -output DIR [-chart DIR] [-registry R] [-tag T]
//
// The chart is the one of the module github.com/dapr/dapr at the version that go.mod
// pins. The same input gives the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	// The chart's folder; imported so that the module stays in go.mod at the version of the images.
	_ "github.com/dapr/dapr/charts/dapr"
)

const namespace = "dapr-system"

func main() {
	options := Options{}
	values := flag.String("values", "values.yaml", "the chart's values")
	output := flag.String("output", "", "folder for the two files")
	flag.StringVar(&options.Chart, "chart", "", "the chart's folder (default: that of the module github.com/dapr/dapr)")
	flag.StringVar(&options.Registry, "registry", "", "instead of global.registry")
	flag.StringVar(&options.Tag, "tag", "", "instead of global.tag")
	flag.Parse()
	if err := run(options, *values, *output); err != nil {
		fmt.Fprintln(os.Stderr, "dapr:", err)
		os.Exit(1)
	}
}

func run(options Options, values, output string) error {
	if output == "" || flag.NArg() > 0 {
		return fmt.Errorf("give -output DIR, and nothing else beside the options")
	}
	text, err := os.ReadFile(values)
	if err != nil {
		return err
	}
	options.Values = text
	if options.Chart == "" {
		if options.Chart, err = chartOfModule(); err != nil {
			return err
		}
	}
	rendered, err := Render(options)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return err
	}
	for name, text := range rendered.Files(moduleVersion()) {
		if err := os.WriteFile(filepath.Join(output, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// moduleVersion is the pinned version; the chart's own says 0.0.0.
func moduleVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/dapr/dapr" {
				return module.Version
			}
		}
	}
	return "of an unknown version"
}

// chartOfModule is where the module cache has the chart.
func chartOfModule() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/dapr/dapr").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module github.com/dapr/dapr: %w; run this in image/k3s/dapr or give -chart", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "charts", "dapr"), nil
}
