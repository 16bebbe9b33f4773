package main

import (
	"fmt"
	"slices"
	"sort"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kinds in the order of applying: sentry dies without the Configuration, whose CRD is in
// the other file; operator and injector wait for what sentry writes into its ConfigMap.
var kinds = []string{
	"Namespace",
	"ServiceAccount",
	"ClusterRole",
	"ClusterRoleBinding",
	"Role",
	"RoleBinding",
	"Secret",
	"ConfigMap",
	"Service",
	"NetworkPolicy",
	"MutatingWebhookConfiguration",
	"Configuration",
	"Deployment",
}

// deployments in the order of applying.
var deployments = []string{"dapr-sentry", "dapr-operator", "dapr-sidecar-injector"}

// order sorts the objects. A kind or Deployment it does not know is an error: a new version
// of the chart has to be looked at.
func order(objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if !slices.Contains(kinds, object.GetKind()) {
			return fmt.Errorf("%s is of a kind this chart did not have: put it into its place in order.go", name(object))
		}
		if object.GetKind() == "Deployment" && !slices.Contains(deployments, object.GetName()) {
			return fmt.Errorf("%s is new: put it into its place in order.go, or switch it off in values.yaml", name(object))
		}
	}
	rank := func(object *unstructured.Unstructured) int {
		return slices.Index(kinds, object.GetKind())*100 + slices.Index(deployments, object.GetName())
	}
	sort.SliceStable(objects, func(a, b int) bool {
		if rank(objects[a]) != rank(objects[b]) {
			return rank(objects[a]) < rank(objects[b])
		}
		return objects[a].GetName() < objects[b].GetName()
	})
	return nil
}
