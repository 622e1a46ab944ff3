package deploy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/lvme/lvme/drive"
	"github.com/lvme/lvme/driver"
)

func agentPod(t *testing.T, all []runtime.Object) corev1.PodSpec {
	t.Helper()
	return one[*appsv1.DaemonSet](t, all).Spec.Template.Spec
}

func controllerPod(t *testing.T, all []runtime.Object) corev1.PodSpec {
	t.Helper()
	return one[*appsv1.Deployment](t, all).Spec.Template.Spec
}

func pods(t *testing.T, all []runtime.Object) []corev1.PodSpec {
	t.Helper()
	return []corev1.PodSpec{agentPod(t, all), controllerPod(t, all)}
}

// TestAgentPrivileges: what docs/kubernetes.md explains, and nothing more.
func TestAgentPrivileges(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		pod := agentPod(t, all)
		if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
			t.Errorf("%d containers and %d before them, want one", len(pod.Containers), len(pod.InitContainers))
		}
		if !pod.HostPID || pod.HostIPC {
			t.Errorf("hostPID %t, hostIPC %t", pod.HostPID, pod.HostIPC)
		}
		for _, v := range pod.Volumes {
			if v.HostPath != nil {
				t.Errorf("volume %s is a path of the host: the agent needs none", v.Name)
			}
		}
		if s := pod.Containers[0].SecurityContext; !*s.Privileged || !*s.ReadOnlyRootFilesystem {
			t.Errorf("security context %+v", s)
		}
		i := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "tls" })
		if tls := pod.Volumes[i].Secret; !*tls.Optional || tls.SecretName != "lvme-agent-tls" {
			t.Errorf("the certificate comes from %+v: the agent has to start without it", tls)
		}
		noToken(t, all, pod)
	})
}

// noToken: nothing lets the pod speak to the Kubernetes API.
func noToken(t *testing.T, all []runtime.Object, pod corev1.PodSpec) {
	t.Helper()
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the pod gets a token")
	}
	for _, v := range pod.Volumes {
		if v.Projected != nil {
			t.Errorf("volume %s may hold a token", v.Name)
		}
	}
	for _, a := range of[*corev1.ServiceAccount](all) {
		if a.Name == pod.ServiceAccountName && (a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken) {
			t.Errorf("ServiceAccount %s gives out a token", a.Name)
		}
	}
	for _, b := range of[*rbacv1.ClusterRoleBinding](all) {
		for _, s := range b.Subjects {
			if s.Name == pod.ServiceAccountName {
				t.Errorf("ServiceAccount %s is bound to %s", s.Name, b.RoleRef.Name)
			}
		}
	}
	for _, b := range of[*rbacv1.RoleBinding](all) {
		for _, s := range b.Subjects {
			if s.Name == pod.ServiceAccountName {
				t.Errorf("ServiceAccount %s is bound to %s", s.Name, b.RoleRef.Name)
			}
		}
	}
}

// TestControllerIsUnprivileged: every container of it, sidecars included, fits
// the Pod Security Standard "restricted" and more.
func TestControllerIsUnprivileged(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		pod := controllerPod(t, all)
		if pod.HostPID || pod.HostIPC || pod.HostNetwork {
			t.Error("shares a namespace of the host")
		}
		s := pod.SecurityContext
		if !*s.RunAsNonRoot || *s.RunAsUser == 0 || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("security context of the pod: %+v", s)
		}
		for _, v := range pod.Volumes {
			if v.EmptyDir == nil && v.Secret == nil {
				t.Errorf("volume %s is neither scratch nor a Secret", v.Name)
			}
		}
		for _, c := range pod.Containers {
			s := c.SecurityContext
			if !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || s.Privileged != nil || s.RunAsUser != nil ||
				!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) != 0 {
				t.Errorf("container %s: %+v", c.Name, s)
			}
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "socket" }) {
				t.Errorf("container %s has not the socket", c.Name)
			}
		}
	})
}

// TestRBAC: no wildcards, no secrets but the controller's own, nothing that
// makes pods or rights.
func TestRBAC(t *testing.T) {
	forbidden := []string{"pods/exec", "pods/attach", "nodes/proxy", "serviceaccounts", "serviceaccounts/token", "roles", "rolebindings", "clusterroles", "clusterrolebindings", "daemonsets", "deployments"}
	each(t, func(t *testing.T, all []runtime.Object) {
		check := func(name string, namespaced bool, rules []rbacv1.PolicyRule) {
			for _, r := range rules {
				for _, word := range slices.Concat(r.APIGroups, r.Resources, r.Verbs) {
					if strings.Contains(word, "*") {
						t.Errorf("%s: wildcard in %+v", name, r)
					}
				}
				if i := slices.IndexFunc(r.Resources, func(s string) bool { return slices.Contains(forbidden, s) }); i >= 0 {
					t.Errorf("%s: allows %s", name, r.Resources[i])
				}
				if slices.Contains(r.Resources, "pods") && !slices.Equal(r.Verbs, []string{"get"}) {
					t.Errorf("%s: %+v", name, r)
				}
				if slices.Contains(r.Resources, "secrets") && (!namespaced || len(r.ResourceNames) == 0 && !slices.Equal(r.Verbs, []string{"create"})) {
					t.Errorf("%s: allows %q of any Secret", name, r.Verbs)
				}
			}
		}
		for _, r := range of[*rbacv1.ClusterRole](all) {
			check(r.Name, false, r.Rules)
		}
		for _, r := range of[*rbacv1.Role](all) {
			check(r.Name, true, r.Rules)
		}
	})
}

// TestEventsCanBeTold: the controller may make events everywhere, and find out whose volumes they concern.
func TestEventsCanBeTold(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		rules := one[*rbacv1.ClusterRole](t, all).Rules
		for _, want := range []struct{ group, resource, verb string }{
			{"", "events", "create"}, {"", "events", "patch"}, {"", "persistentvolumes", "list"}, {"storage.k8s.io", "storageclasses", "list"},
		} {
			if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
				return slices.Contains(r.APIGroups, want.group) && slices.Contains(r.Resources, want.resource) && slices.Contains(r.Verbs, want.verb)
			}) {
				t.Errorf("it may not %s %s", want.verb, want.resource)
			}
		}
	})
}

// TestSecretsOnlyWhereTheControllerMakesThem: with certificates of others it
// has no right to any Secret.
func TestSecretsOnlyWhereTheControllerMakesThem(t *testing.T) {
	for set, want := range map[string]bool{"defaults": true, "files": false, "cert-manager": false} {
		role := one[*rbacv1.Role](t, objects(t, set))
		got := slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "secrets") })
		if got != want {
			t.Errorf("%s: rules for secrets: %t, want %t", set, got, want)
		}
	}
}

// TestNoSecretsInTheChart: nothing that has to stay secret passes through Helm.
func TestNoSecretsInTheChart(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		if s := of[*corev1.Secret](all); len(s) != 0 {
			t.Errorf("the chart makes the Secret %s", s[0].Name)
		}
	})
	for _, file := range []string{"agent.yaml", "controller.yaml", "certificates.yaml", "_helpers.tpl"} {
		for _, word := range []string{"genCA", "genSelfSignedCert", "lookup", "randAlpha", "helm.sh/hook"} {
			if strings.Contains(read(t, chart+"/templates/"+file), word) {
				t.Errorf("%s has %s", file, word)
			}
		}
	}
}

// TestSelectors: whatever selects pods selects those that it means, and only them.
func TestSelectors(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		agents, controllers := one[*appsv1.DaemonSet](t, all), one[*appsv1.Deployment](t, all)
		of2 := map[string]labels.Set{"agent": agents.Spec.Template.Labels, "controller": controllers.Spec.Template.Labels}
		check := func(what string, s *metav1.LabelSelector, want string) {
			selector, err := metav1.LabelSelectorAsSelector(s)
			if err != nil {
				t.Fatal(err)
			}
			for component, set := range of2 {
				if selector.Matches(set) != (component == want) {
					t.Errorf("%s selects the pods of %s: %t", what, component, component != want)
				}
			}
		}
		check("the DaemonSet", agents.Spec.Selector, "agent")
		check("the Deployment", controllers.Spec.Selector, "controller")
		service := one[*corev1.Service](t, all)
		check("the Service", &metav1.LabelSelector{MatchLabels: service.Spec.Selector}, "agent")
		for _, b := range of[*policyv1.PodDisruptionBudget](all) {
			check("the PodDisruptionBudget", b.Spec.Selector, "controller")
		}
		for _, p := range of[*networkingv1.NetworkPolicy](all) {
			check("the NetworkPolicy", &p.Spec.PodSelector, strings.TrimPrefix(p.Name, "lvme-"))
		}
		for _, m := range of[*podMonitor](all) {
			check("the PodMonitor", &m.Spec.Selector, strings.TrimPrefix(m.Name, "lvme-"))
		}
	})
}

// TestService: the controller finds agents that are not ready, at the port that
// they listen on.
func TestService(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		s := one[*corev1.Service](t, all)
		if s.Name != "lvme-agent" || s.Spec.ClusterIP != corev1.ClusterIPNone || !s.Spec.PublishNotReadyAddresses {
			t.Errorf("%s: %+v", s.Name, s.Spec)
		}
		if p := s.Spec.Ports; len(p) != 1 || p[0].Name != "cluster" || p[0].TargetPort.StrVal != "cluster" {
			t.Errorf("ports %+v", p)
		}
	})
}

// TestNetworkPolicy: agents are reached by the controller alone, and reach nobody.
func TestNetworkPolicy(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		for _, p := range of[*networkingv1.NetworkPolicy](all) {
			if p.Name != "lvme-agent" {
				continue
			}
			if len(p.Spec.PolicyTypes) != 2 || len(p.Spec.Egress) != 0 {
				t.Errorf("agents may call: %+v", p.Spec)
			}
			for _, rule := range p.Spec.Ingress {
				if len(rule.From) == 0 || len(rule.Ports) == 0 {
					t.Errorf("open to everybody, or at every port: %+v", rule)
				}
				for _, port := range rule.Ports {
					if port.Port.StrVal == "cluster" && (len(rule.From) != 1 || rule.From[0].NamespaceSelector != nil ||
						rule.From[0].PodSelector.MatchLabels["app.kubernetes.io/component"] != "controller") {
						t.Errorf("the cluster port is open to %+v", rule.From)
					}
				}
			}
		}
	})
}

// TestEveryNode: agents stand on tainted and cordoned nodes too, and are not evicted first.
func TestEveryNode(t *testing.T) {
	pod := agentPod(t, objects(t, "defaults"))
	if len(pod.Tolerations) != 1 || pod.Tolerations[0].Operator != corev1.TolerationOpExists || pod.Tolerations[0].Key != "" {
		t.Errorf("tolerations %+v", pod.Tolerations)
	}
	if pod.PriorityClassName != "system-node-critical" {
		t.Errorf("priority %q", pod.PriorityClassName)
	}
}

func TestCSIDriver(t *testing.T) {
	prevent := map[string]bool{"files": true, "everything": true} // 1.38, always
	for set := range sets {
		d := one[*storagev1.CSIDriver](t, objects(t, set))
		s := d.Spec
		if d.Name != driver.Name || *s.AttachRequired || *s.PodInfoOnMount || *s.RequiresRepublish || !*s.StorageCapacity || !*s.SELinuxMount ||
			*s.FSGroupPolicy != storagev1.FileFSGroupPolicy || !slices.Equal(s.VolumeLifecycleModes, []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}) {
			t.Errorf("%s: %s: %+v", set, d.Name, s)
		}
		if got := s.PreventPodSchedulingIfMissing != nil; got != prevent[set] {
			t.Errorf("%s: preventPodSchedulingIfMissing is there: %t", set, got)
		}
	}
}

// TestStorageClasses: parameters that the driver knows; volumes are placed by
// their pods, and grow.
func TestStorageClasses(t *testing.T) {
	known := []string{driver.ParamDriveClass, driver.ParamType, driver.ParamProfile, driver.ParamMkfsOptions, driver.ParamAllowModeChange, driver.ParamFSType}
	each(t, func(t *testing.T, all []runtime.Object) {
		for _, c := range of[*storagev1.StorageClass](all) {
			if c.Provisioner != driver.Name {
				t.Errorf("%s: provisioner %s", c.Name, c.Provisioner)
			}
			for key := range c.Parameters {
				if !slices.Contains(known, key) {
					t.Errorf("%s: parameter %s", c.Name, key)
				}
			}
		}
	})
	got := map[string]string{}
	for _, c := range of[*storagev1.StorageClass](objects(t, "defaults")) {
		got[c.Name] = c.Parameters[driver.ParamProfile]
		if *c.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer || !*c.AllowVolumeExpansion || len(c.Annotations) != 0 {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	want := map[string]string{"lvme": "general", "lvme-kafka": "kafka", "lvme-hdfs": "hdfs", "lvme-training": "training", "lvme-database": "database"}
	if !maps.Equal(got, want) {
		t.Errorf("classes %v, want %v", got, want)
	}
	all := of[*storagev1.StorageClass](objects(t, "everything"))
	if c := all[0]; *c.ReclaimPolicy != corev1.PersistentVolumeReclaimRetain || *c.AllowVolumeExpansion || len(c.Parameters) != len(known) ||
		c.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" || c.Parameters[driver.ParamAllowModeChange] != "true" {
		t.Errorf("what was said is not there: %+v", c)
	}
}

func TestVolumeSnapshotClass(t *testing.T) {
	for set, want := range map[string]int{"defaults": 0, "k3s": 1, "everything": 1, "minimal": 0} {
		if got := of[*snapshotv1.VolumeSnapshotClass](objects(t, set)); len(got) != want || want > 0 && got[0].Driver != driver.Name {
			t.Errorf("%s: %d classes %+v, want %d", set, len(got), got, want)
		}
	}
}

// TestDriveConfiguration: what a ConfigMap gives the agents is what they take,
// and the examples of the chart are right.
func TestDriveConfiguration(t *testing.T) {
	text := one[*corev1.ConfigMap](t, objects(t, "everything")).Data["config.yaml"]
	config, err := drive.ParseConfig([]byte(text))
	if err != nil || len(config.Classes) != 2 {
		t.Errorf("%+v, %v", config, err)
	}
	if maps := of[*corev1.ConfigMap](objects(t, "defaults")); len(maps) != 0 {
		t.Errorf("a ConfigMap %s, though nothing was said", maps[0].Name)
	}
	mounted := container(t, agentPod(t, objects(t, "everything")), "agent").VolumeMounts
	if !slices.ContainsFunc(mounted, func(m corev1.VolumeMount) bool { return m.MountPath == "/etc/lvme/config.yaml" }) {
		t.Errorf("mounts %+v", mounted)
	}
	was, is := objects(t, "defaults"), objects(t, "everything")
	const note = "lvme.dev/drives"
	a, b := one[*appsv1.DaemonSet](t, was).Spec.Template.Annotations[note], one[*appsv1.DaemonSet](t, is).Spec.Template.Annotations[note]
	if a == b || a == "" {
		t.Errorf("%s is %q, and with another configuration %q: agents would not start anew", note, a, b)
	}
}

// TestCertificates: cert-manager makes what the two sides ask of each other.
func TestCertificates(t *testing.T) {
	for set, issuers := range map[string]int{"cert-manager": 2, "cert-manager-issuer": 0} {
		all := objects(t, set)
		if got := of[*issuer](all); len(got) != issuers {
			t.Errorf("%s: %d issuers, want %d", set, len(got), issuers)
		}
		found := map[string]string{}
		for _, c := range of[*certificate](all) {
			if c.Spec.IsCA {
				continue
			}
			found[c.Spec.SecretName] = strings.Join(append(c.Spec.URIs, c.Spec.Usages...), " ")
			if c.Spec.IssuerRef.Name == "" || c.Spec.PrivateKey.RotationPolicy != "Always" || c.Spec.RenewBefore.Duration >= c.Spec.Duration.Duration {
				t.Errorf("%s: %+v", set, c.Spec)
			}
		}
		want := map[string]string{
			"lvme-agent-tls":  "spiffe://csi.lvme.dev/agent digital signature server auth",
			"lvme-router-tls": "spiffe://csi.lvme.dev/router digital signature client auth",
		}
		if !maps.Equal(found, want) {
			t.Errorf("%s: %v, want %v", set, found, want)
		}
	}
}

// TestPodMonitor: every port that it names is there.
func TestPodMonitor(t *testing.T) {
	all := objects(t, "everything")
	ports := map[string]bool{}
	for _, pod := range pods(t, all) {
		for _, c := range pod.Containers {
			for _, p := range c.Ports {
				ports[p.Name] = true
			}
		}
	}
	monitors := of[*podMonitor](all)
	for _, m := range monitors {
		for _, e := range m.Spec.PodMetricsEndpoints {
			if !ports[e.Port] {
				t.Errorf("%s reads port %s, which no container has", m.Name, e.Port)
			}
		}
	}
	if len(monitors) != 2 {
		t.Errorf("%d PodMonitors, want 2", len(monitors))
	}
}

// TestKubeletDir: one value moves everything that lies below the kubelet's directory.
func TestKubeletDir(t *testing.T) {
	for set, dir := range map[string]string{"defaults": "/var/lib/kubelet", "k0s": "/var/lib/k0s/kubelet", "microk8s": "/var/snap/microk8s/common/var/lib/kubelet"} {
		c := container(t, agentPod(t, objects(t, set)), "agent")
		for _, want := range []string{"--kubelet-dir=" + dir, "--socket=" + dir + "/plugins/" + driver.Name + "/csi.sock", "--register=" + dir + "/plugins_registry"} {
			if !slices.Contains(c.Args, want) {
				t.Errorf("%s: no %s in %q", set, want, c.Args)
			}
		}
		text, err := yaml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if dir != "/var/lib/kubelet" && strings.Contains(string(text), "=/var/lib/kubelet") {
			t.Errorf("%s: the usual directory is left in\n%s", set, text)
		}
	}
}

// TestAdmissionPolicies: they mean the controller's ServiceAccount, are in force,
// and name the Secrets that its role names.
func TestAdmissionPolicies(t *testing.T) {
	for set, want := range map[string][]string{
		"defaults": {"lvme-controller-configmaps", "lvme-controller-nodes", "lvme-controller-secrets"},
		"files":    {"lvme-controller-configmaps", "lvme-controller-nodes"},
		"minimal":  nil,
	} {
		all := objects(t, set)
		var policies, bound []string
		for _, p := range of[*admissionv1.ValidatingAdmissionPolicy](all) {
			policies = append(policies, p.Name)
			account := "system:serviceaccount:" + namespace + ":" + controllerPod(t, all).ServiceAccountName
			if c := p.Spec.MatchConditions; len(c) != 1 || !strings.Contains(c[0].Expression, "'"+account+"'") || *p.Spec.FailurePolicy != admissionv1.Fail {
				t.Errorf("%s: %s is for %+v", set, p.Name, c)
			}
		}
		for _, b := range of[*admissionv1.ValidatingAdmissionPolicyBinding](all) {
			if slices.Equal(b.Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
				bound = append(bound, b.Spec.PolicyName)
			}
		}
		slices.Sort(policies)
		slices.Sort(bound)
		if !slices.Equal(policies, want) || !slices.Equal(bound, want) {
			t.Errorf("%s: policies %q, in force %q, want %q", set, policies, bound, want)
		}
	}
	all := objects(t, "defaults")
	for _, p := range of[*admissionv1.ValidatingAdmissionPolicy](all) {
		for _, r := range one[*rbacv1.Role](t, all).Rules {
			for _, name := range r.ResourceNames {
				if p.Name == "lvme-controller-secrets" && slices.Contains(r.Resources, "secrets") && !strings.Contains(p.Spec.Validations[0].Expression, "'"+name+"'") {
					t.Errorf("the policy does not name Secret %s", name)
				}
			}
		}
	}
}
