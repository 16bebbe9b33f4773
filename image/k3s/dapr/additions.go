package main

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	portSentry          = 50001
	portOperator        = 6500
	portOperatorWebhook = 19443
	portInjectorWebhook = 4000
	portMetrics         = 9090
)

// additions are what the chart leaves to whoever installs it: the namespace and who may
// reach what in it.
func additions() ([]*unstructured.Unstructured, error) {
	everybody := metav1.LabelSelector{}
	// Daprd of any module: the namespaces the injector serves.
	sidecars := networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"fieldgate.io/modules": "true"}},
		PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"dapr.io/sidecar-injected": "true"}},
	}
	ours := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}}
	monitoring := networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"fieldgate.io/monitoring": "true"}},
	}
	values := []any{
		daprNamespace(),
		policy("default-deny", everybody),
		policy("sentry", app("dapr-sentry"), rule(portSentry, sidecars, ours)),
		policy("operator", app("dapr-operator"), rule(portOperator, sidecars, ours), rule(portOperatorWebhook)),
		policy("injector", app("dapr-sidecar-injector"), rule(portInjectorWebhook)),
		policy("metrics", everybody, rule(portMetrics, monitoring)),
	}
	objects := make([]*unstructured.Unstructured, 0, len(values))
	for _, value := range values {
		object := &unstructured.Unstructured{}
		if err := into(object, value); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func ownLabels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/part-of":    "fieldgate",
		"app.kubernetes.io/managed-by": "fieldgate",
	}
}

// daprNamespace: check proves that every pod meets the level.
func daprNamespace() *corev1.Namespace {
	labels := ownLabels()
	for _, mode := range []string{"enforce", "audit", "warn"} {
		labels["pod-security.kubernetes.io/"+mode] = "restricted"
	}
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: labels},
	}
}

func app(name string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

// rule lets in what comes from the peers. Without a peer it lets everybody in: the API
// server, which calls the webhooks, has the address of a node, and no selector finds that.
// A webhook answers admission and conversion requests only, and gives nothing away. The
// kubelet's probes need no rule: a node always reaches its own pods.
func rule(port int32, from ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicyIngressRule {
	protocol, number := corev1.ProtocolTCP, intstr.FromInt32(port)
	return networkingv1.NetworkPolicyIngressRule{
		From:  from,
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: &protocol, Port: &number}},
	}
}

func policy(name string, pods metav1.LabelSelector, rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: ownLabels()},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: pods,
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     rules,
		},
	}
}
