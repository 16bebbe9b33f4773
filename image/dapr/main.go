// Command fieldgate-dapr is Dapr as the appliance runs it: the sidecar and the whole
// control plane in one program, so that every Dapr process of a node shares one text
// segment. The part is chosen by the name the program is called with (argv[0]) or by
// its first argument:
//
//	daprd [flags]                    a hard or symbolic link named after the part
//	fieldgate-dapr daprd [flags]     the part as the first argument
//
// It is upstream Dapr at the version that go.mod pins, with the components the
// appliance uses (components.go) and no others. The stock images can replace it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	injector "github.com/dapr/dapr/cmd/injector/app"
	operator "github.com/dapr/dapr/cmd/operator/app"
	placement "github.com/dapr/dapr/cmd/placement/app"
	scheduler "github.com/dapr/dapr/cmd/scheduler/app"
	sentry "github.com/dapr/dapr/cmd/sentry/app"
)

var parts = map[string]func(){
	"daprd":     runSidecar,
	"injector":  injector.Run,
	"operator":  operator.Run,
	"placement": placement.Run,
	"scheduler": scheduler.Run,
	"sentry":    sentry.Run,
}

func main() {
	if run, ok := parts[filepath.Base(os.Args[0])]; ok {
		run()
		return
	}
	if len(os.Args) > 1 {
		if run, ok := parts[os.Args[1]]; ok {
			os.Args = append(os.Args[1:2:2], os.Args[2:]...)
			run()
			return
		}
	}
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(os.Stderr, "usage: fieldgate-dapr PART [flags], or call it by a link named after the part; parts: %s\n", strings.Join(names, ", "))
	os.Exit(64)
}
