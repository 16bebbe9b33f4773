package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// kubernetesVersion is what the chart's templates are told.
const kubernetesVersion = "v1.34.0"

// Options say what to render.
type Options struct {
	// Chart is the chart's folder.
	Chart string
	// Values is the text of the values.
	Values []byte
	// Registry and Tag, where not empty, replace global.registry and global.tag.
	Registry, Tag string
}

// Rendered are the objects in the order in which they are applied.
type Rendered struct {
	CRDs    []*unstructured.Unstructured
	Objects []*unstructured.Unstructured
}

// Render renders the chart, patches what its values cannot set, adds what it lacks, and
// checks the result.
func Render(options Options) (*Rendered, error) {
	loaded, err := loader.LoadDir(options.Chart)
	if err != nil {
		return nil, fmt.Errorf("the chart in %s: %w", options.Chart, err)
	}
	values, err := values(options)
	if err != nil {
		return nil, err
	}
	objects, err := templates(loaded, values)
	if err != nil {
		return nil, err
	}
	crds, err := customResources(loaded)
	if err != nil {
		return nil, err
	}
	objects, err = patch(objects)
	if err != nil {
		return nil, err
	}
	own, err := additions()
	if err != nil {
		return nil, err
	}
	objects = append(objects, own...)
	if err := order(objects); err != nil {
		return nil, err
	}
	registry, _, _ := unstructured.NestedString(values, "global", "registry")
	if err := check(objects, registry); err != nil {
		return nil, err
	}
	return &Rendered{CRDs: crds, Objects: objects}, nil
}

func values(options Options) (map[string]any, error) {
	values, err := chartutil.ReadValues(options.Values)
	if err != nil {
		return nil, fmt.Errorf("the values: %w", err)
	}
	for key, value := range map[string]string{"registry": options.Registry, "tag": options.Tag} {
		if value == "" {
			continue
		}
		if err := unstructured.SetNestedField(values, value, "global", key); err != nil {
			return nil, fmt.Errorf("the values: %w", err)
		}
	}
	return values, nil
}

func templates(loaded *chart.Chart, values map[string]any) ([]*unstructured.Unstructured, error) {
	if err := chartutil.ProcessDependencies(loaded, values); err != nil {
		return nil, fmt.Errorf("the chart's parts: %w", err)
	}
	version, err := chartutil.ParseKubeVersion(kubernetesVersion)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	release := chartutil.ReleaseOptions{Name: "dapr", Namespace: namespace, Revision: 1, IsInstall: true}
	input, err := chartutil.ToRenderValues(loaded, values, release, capabilities)
	if err != nil {
		return nil, fmt.Errorf("the values: %w", err)
	}
	texts, err := engine.Render(loaded, input)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(texts))
	for name := range texts {
		if path.Ext(name) == ".yaml" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	var objects []*unstructured.Unstructured
	for _, name := range names {
		found, err := parse(name, []byte(texts[name]))
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

func customResources(loaded *chart.Chart) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, file := range loaded.CRDObjects() {
		found, err := parse(file.Filename, file.File.Data)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	for _, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" {
			return nil, fmt.Errorf("%s in the chart's crds is no CustomResourceDefinition", name(object))
		}
		// The chart leaves it to the operator to say where the conversion runs; until then a Subscription of another version would be sent to a
		// namespace that does not exist.
		if _, found, _ := unstructured.NestedMap(object.Object, "spec", "conversion", "webhook", "clientConfig", "service"); found {
			if err := unstructured.SetNestedField(object.Object, namespace, "spec", "conversion", "webhook", "clientConfig", "service", "namespace"); err != nil {
				return nil, fmt.Errorf("%s: %w", name(object), err)
			}
		}
	}
	sort.SliceStable(objects, func(a, b int) bool { return objects[a].GetName() < objects[b].GetName() })
	return objects, nil
}

// parse reads the documents of one file; empty ones are left out.
func parse(file string, text []byte) ([]*unstructured.Unstructured, error) {
	reader := yamlreader.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var objects []*unstructured.Unstructured
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if object.GetKind() == "" || object.GetName() == "" {
			return nil, fmt.Errorf("%s has a document without kind or name", file)
		}
		objects = append(objects, object)
	}
}

func name(object *unstructured.Unstructured) string {
	return object.GetKind() + " " + strings.TrimPrefix(object.GetNamespace()+"/"+object.GetName(), "/")
}
