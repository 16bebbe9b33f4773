package main

import (
	"errors"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// check is what must hold of any version of the chart before it goes onto a device. All
// that does not is reported.
func check(objects []*unstructured.Unstructured, registry string) error {
	var problems []error
	seen := map[string]bool{}
	for _, object := range objects {
		if seen[name(object)] {
			problems = append(problems, fmt.Errorf("%s is there twice", name(object)))
		}
		seen[name(object)] = true
		for _, problem := range checkObject(object, registry) {
			problems = append(problems, fmt.Errorf("%s: %w", name(object), problem))
		}
	}
	for _, deployment := range deployments {
		if !seen["Deployment "+namespace+"/"+deployment] {
			problems = append(problems, fmt.Errorf("the chart gave no Deployment %s", deployment))
		}
	}
	return errors.Join(problems...)
}

func checkObject(object *unstructured.Unstructured, registry string) []error {
	var problems []error
	if in := object.GetNamespace(); in != "" && in != namespace {
		problems = append(problems, fmt.Errorf("is in namespace %s, not in %s", in, namespace))
	}
	for _, part := range []string{"placement", "scheduler"} {
		if strings.Contains(object.GetName(), part) {
			problems = append(problems, fmt.Errorf("belongs to %s, which the appliance does not run", part))
		}
	}
	switch object.GetKind() {
	case "Secret":
		if _, found := object.Object["data"]; found {
			problems = append(problems, errors.New("has data: sentry makes its authority on the device"))
		}
	case "Deployment":
		deployment := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, deployment); err != nil {
			return append(problems, err)
		}
		problems = append(problems, checkPod(&deployment.Spec.Template.Spec, registry)...)
	case "MutatingWebhookConfiguration":
		hook := &admissionv1.MutatingWebhookConfiguration{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, hook); err != nil {
			return append(problems, err)
		}
		problems = append(problems, checkWebhooks(hook)...)
	}
	return problems
}

func checkWebhooks(hook *admissionv1.MutatingWebhookConfiguration) []error {
	var problems []error
	for _, webhook := range hook.Webhooks {
		if webhook.FailurePolicy == nil || *webhook.FailurePolicy != admissionv1.Fail {
			problems = append(problems, fmt.Errorf("webhook %s does not have failurePolicy Fail", webhook.Name))
		}
		if webhook.NamespaceSelector == nil || webhook.ObjectSelector == nil {
			problems = append(problems, fmt.Errorf("webhook %s lacks a selector: with Fail it would hold up every pod", webhook.Name))
		}
	}
	return problems
}

// checkPod holds a pod against Pod Security `restricted` and our own rules.
func checkPod(pod *corev1.PodSpec, registry string) []error {
	var problems []error
	fail := func(format string, arguments ...any) { problems = append(problems, fmt.Errorf(format, arguments...)) }
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		fail("shares a namespace of the host")
	}
	if pod.PriorityClassName == "" {
		fail("has no priority class")
	}
	for _, volume := range pod.Volumes {
		if volume.ConfigMap == nil && volume.Secret == nil && volume.Projected == nil && volume.EmptyDir == nil {
			fail("volume %s is of a kind that `restricted` forbids", volume.Name)
		}
	}
	for _, container := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) {
		context := container.SecurityContext
		if context == nil {
			fail("container %s has no security context", container.Name)
			continue
		}
		if context.Privileged != nil && *context.Privileged {
			fail("container %s is privileged", container.Name)
		}
		if context.AllowPrivilegeEscalation == nil || *context.AllowPrivilegeEscalation {
			fail("container %s may escalate", container.Name)
		}
		if context.RunAsNonRoot == nil || !*context.RunAsNonRoot {
			fail("container %s may run as root", container.Name)
		}
		if context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
			fail("container %s may write to its image", container.Name)
		}
		if context.Capabilities == nil || len(context.Capabilities.Add) > 0 || len(context.Capabilities.Drop) != 1 || context.Capabilities.Drop[0] != "ALL" {
			fail("container %s keeps capabilities", container.Name)
		}
		if context.SeccompProfile == nil || context.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			fail("container %s has no seccomp profile", container.Name)
		}
		if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Memory().IsZero() {
			fail("container %s has no bound of memory", container.Name)
		}
		if container.LivenessProbe == nil || container.ReadinessProbe == nil {
			fail("container %s lacks a probe", container.Name)
		}
		if registry != "" && !strings.HasPrefix(container.Image, registry+"/") {
			fail("container %s runs %s, which is not of %s", container.Name, container.Image, registry)
		}
		if container.ImagePullPolicy != corev1.PullIfNotPresent {
			fail("container %s would pull its image", container.Name)
		}
	}
	return problems
}
