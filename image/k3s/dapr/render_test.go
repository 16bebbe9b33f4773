package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func options(t *testing.T) Options {
	t.Helper()
	values, err := os.ReadFile("values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	chart, err := chartOfModule()
	if err != nil {
		t.Fatal(err)
	}
	return Options{Chart: chart, Values: values}
}

func TestTheSameBytesEveryTime(t *testing.T) {
	var first map[string][]byte
	for range 3 {
		rendered, err := Render(options(t))
		if err != nil {
			t.Fatal(err)
		}
		files := rendered.Files("v1")
		if first == nil {
			first = files
		}
		for name, text := range files {
			if !bytes.Equal(text, first[name]) {
				t.Errorf("%s differs between two runs", name)
			}
		}
	}
}

func TestOrderOfApplying(t *testing.T) {
	rendered, err := Render(options(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, object := range rendered.Objects {
		names = append(names, name(object))
	}
	if names[0] != "Namespace dapr-system" {
		t.Errorf("begins with %s", names[0])
	}
	want := []string{
		"Configuration dapr-system/daprsystem", "Deployment dapr-system/dapr-sentry",
		"Deployment dapr-system/dapr-operator", "Deployment dapr-system/dapr-sidecar-injector",
	}
	if end := names[len(names)-4:]; strings.Join(end, ",") != strings.Join(want, ",") {
		t.Errorf("ends with %v", end)
	}
}

func TestAnotherRegistry(t *testing.T) {
	given := options(t)
	given.Registry, given.Tag = "ghcr.io/dapr", "1.18.2"
	rendered, err := Render(given)
	if err != nil {
		t.Fatal(err)
	}
	text := string(rendered.Files("v1")["dapr.yaml"])
	for _, image := range []string{"operator", "sentry", "injector", "daprd"} {
		if !strings.Contains(text, "ghcr.io/dapr/"+image+":1.18.2\n") {
			t.Errorf("no image of %s", image)
		}
	}
}

func TestWhatMustNotReachADevice(t *testing.T) {
	for _, row := range []struct{ old, new, message string }{
		{"webhookFailurePolicy: Fail", "webhookFailurePolicy: Ignore", "failurePolicy"},
		{"seccompProfile: RuntimeDefault", `seccompProfile: ""`, "seccomp"},
		{"secretReader:\n    enabled: false", "secretReader:\n    enabled: true", "is in namespace default"},
		{"scheduler:\n    enabled: false", "scheduler:\n    enabled: true", "this chart did not have"},
		{"imagePullPolicy: IfNotPresent", "imagePullPolicy: Always", "would pull"},
		{"objectSelector:\n    matchLabels:\n      fieldgate.io/sidecar: required", "objectSelector: {}", "lacks a selector"},
		{"limits: {cpu: \"1\", memory: 192Mi}", "limits: {}", "no bound of memory"},
	} {
		given := options(t)
		if !strings.Contains(string(given.Values), row.old) {
			t.Fatalf("values.yaml has no %q", row.old)
		}
		given.Values = []byte(strings.ReplaceAll(string(given.Values), row.old, row.new))
		if _, err := Render(given); err == nil || !strings.Contains(err.Error(), row.message) {
			t.Errorf("%q: %v", row.new, err)
		}
	}
}

func TestPatchOfAnUnknownRoleIsAnError(t *testing.T) {
	role := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
		"metadata": map[string]any{"name": "dapr-operator-admin"}, "rules": []any{},
	}}
	if _, err := patch([]*unstructured.Unstructured{role}); err == nil {
		t.Error("nobody noticed that the rule is gone")
	}
}
