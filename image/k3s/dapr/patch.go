package main

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// patch changes what the chart cannot set by value.
func patch(objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	kept := make([]*unstructured.Unstructured, 0, len(objects))
	for _, object := range objects {
		if leftOut(object) {
			continue
		}
		stripHooks(object)
		var err error
		switch object.GetKind() {
		case "Deployment":
			err = typed(object, patchDeployment)
		case "ClusterRole":
			err = typed(object, patchClusterRole)
		case "Service":
			err = typed(object, patchService)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name(object), err)
		}
		kept = append(kept, object)
	}
	return kept, nil
}

// leftOut: the quota that the chart adds for system-cluster-critical matters only where the
// API server's admission is configured to limit that class; neither k3s nor upstream is.
func leftOut(object *unstructured.Unstructured) bool {
	return object.GetKind() == "ResourceQuota" && object.GetName() == "system-critical-quota"
}

// stripHooks: nothing here runs helm, so a hook would be an ordinary object with a
// misleading annotation.
func stripHooks(object *unstructured.Unstructured) {
	annotations := object.GetAnnotations()
	for key := range annotations {
		if strings.HasPrefix(key, "helm.sh/") {
			delete(annotations, key)
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	object.SetAnnotations(annotations)
}

func patchDeployment(deployment *appsv1.Deployment) error {
	// Each kept revision is a ReplicaSet in a database on flash.
	revisions := int32(2)
	deployment.Spec.RevisionHistoryLimit = &revisions

	pod := &deployment.Spec.Template.Spec
	// The addresses of all services of the namespace in the environment: nobody reads them.
	links := false
	pod.EnableServiceLinks = &links
	// The user of the image, said where Pod Security and a reader look for it. The token volumes belong to it.
	user, nonRoot := int64(65532), true
	pod.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser:      &user,
		RunAsGroup:     &user,
		RunAsNonRoot:   &nonRoot,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if deployment.Name == "dapr-operator" {
		if len(pod.Containers) != 1 {
			return fmt.Errorf("has %d containers, not the one to patch", len(pod.Containers))
		}
		// One replica: the lease would be a write to flash every 2 s. While an update runs, two operators serve side by side, which is what they do
		// with the lease, too; only the watchdog and the sidecars' services are the leader's, and doing those twice changes nothing.
		pod.Containers[0].Args = append(pod.Containers[0].Args, "--disable-leader-election")
	}
	return nil
}

func patchClusterRole(role *rbacv1.ClusterRole) error {
	if role.Name != "dapr-operator-admin" {
		return nil
	}
	for index := range role.Rules {
		rule := &role.Rules[index]
		if slices.Contains(rule.Resources, "customresourcedefinitions") {
			// The only one it patches: the conversion of subscriptions.
			rule.ResourceNames = []string{"subscriptions.dapr.io"}
			return nil
		}
	}
	return fmt.Errorf("has no rule for customresourcedefinitions any more: look at what the operator may do now")
}

// patchService closes the port for sidecars older than 1.14.
func patchService(service *corev1.Service) error {
	service.Spec.Ports = slices.DeleteFunc(service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Name == "legacy" })
	return nil
}

// typed runs a change on the object as its Go type, so that a field the type does not
// have is an error.
func typed[T any](object *unstructured.Unstructured, change func(*T) error) error {
	value := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, value, true); err != nil {
		return err
	}
	if err := change(value); err != nil {
		return err
	}
	return into(object, value)
}

func into(object *unstructured.Unstructured, value any) error {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(value)
	if err != nil {
		return err
	}
	prune(fields)
	delete(fields, "status")
	object.Object = fields
	return nil
}

// prune takes away what Go's types write for fields nobody set.
func prune(fields map[string]any) {
	for key, value := range fields {
		switch value := value.(type) {
		case nil:
			delete(fields, key)
		case map[string]any:
			prune(value)
			if len(value) == 0 && (key == "strategy" || key == "loadBalancer" || key == "spec") {
				delete(fields, key)
			}
		case []any:
			for _, item := range value {
				if item, ok := item.(map[string]any); ok {
					prune(item)
				}
			}
		}
	}
}
