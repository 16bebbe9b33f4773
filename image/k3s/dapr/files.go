package main

import (
	"bytes"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Files are the two files by name. k3s applies them in the order of the alphabet.
func (r *Rendered) Files(version string) map[string][]byte {
	return map[string][]byte{
		"dapr-crds.yaml": file("Dapr's kinds of objects", version, r.CRDs),
		"dapr.yaml":      file("Dapr's control plane: sentry, operator and injector", version, r.Objects),
	}
}

func file(purpose, version string, objects []*unstructured.Unstructured) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# %s, Dapr %s, rendered from its Helm chart with image/k3s/dapr/values.yaml of Fieldgate.\n", purpose, version)
	out.WriteString("# Written again by every `fieldgate install`: change the values and build the bundle anew.\n")
	for _, object := range objects {
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			// What came out of a parser goes into a writer.
			panic(err)
		}
		fmt.Fprintf(&out, "---\n%s\n", strings.TrimRight(string(text), "\n"))
	}
	return out.Bytes()
}
