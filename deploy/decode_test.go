package deploy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// The objects of other projects, as far as the chart makes them: their Go
// modules are too much for a test. A field that is not here is an error.
type (
	podMonitor struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			Selector            metav1.LabelSelector `json:"selector"`
			PodMetricsEndpoints []struct {
				Port     string          `json:"port"`
				Path     string          `json:"path"`
				Interval metav1.Duration `json:"interval"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	certificate struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			SecretName  string          `json:"secretName"`
			CommonName  string          `json:"commonName"`
			IsCA        bool            `json:"isCA"`
			URIs        []string        `json:"uris"`
			Usages      []string        `json:"usages"`
			Duration    metav1.Duration `json:"duration"`
			RenewBefore metav1.Duration `json:"renewBefore"`
			PrivateKey  struct {
				Algorithm      string `json:"algorithm"`
				Size           int    `json:"size"`
				RotationPolicy string `json:"rotationPolicy"`
			} `json:"privateKey"`
			IssuerRef struct{ Name, Kind, Group string } `json:"issuerRef"`
		} `json:"spec"`
	}
	issuer struct {
		metav1.TypeMeta   `json:",inline"`
		metav1.ObjectMeta `json:"metadata"`
		Spec              struct {
			SelfSigned *struct{} `json:"selfSigned"`
			CA         *struct {
				SecretName string `json:"secretName"`
			} `json:"ca"`
		} `json:"spec"`
	}
)

func (p *podMonitor) DeepCopyObject() runtime.Object  { c := *p; return &c }
func (c *certificate) DeepCopyObject() runtime.Object { d := *c; return &d }
func (i *issuer) DeepCopyObject() runtime.Object      { c := *i; return &c }

// foreign are the kinds of other projects.
var foreign = map[schema.GroupVersionKind]func() runtime.Object{
	{Group: "monitoring.coreos.com", Version: "v1", Kind: "PodMonitor"}: func() runtime.Object { return &podMonitor{} },
	{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}:      func() runtime.Object { return &certificate{} },
	{Group: "cert-manager.io", Version: "v1", Kind: "Issuer"}:           func() runtime.Object { return &issuer{} },
}

// strict decodes into the types of the API; unknown fields, wrong types and
// fields given twice are errors.
var strict = func() runtime.Decoder {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, snapshotv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return serializer.NewCodecFactory(s, serializer.EnableStrict).UniversalDeserializer()
}()

func decode(doc string) (runtime.Object, error) {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
		return nil, err
	}
	if made, ok := foreign[kind.GroupVersionKind()]; ok {
		o := made()
		return o, yaml.UnmarshalStrict([]byte(doc), o)
	}
	o, _, err := strict.Decode([]byte(doc), nil, nil)
	return o, err
}

func decodeAll(t *testing.T, text string) []runtime.Object {
	t.Helper()
	var all []runtime.Object
	for _, doc := range documents(text) {
		o, err := decode(doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		all = append(all, o)
	}
	return all
}

func TestDecodeIsStrict(t *testing.T) {
	const head = "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: a}\n"
	for name, tc := range map[string]struct {
		doc string
		ok  bool
	}{
		"right":               {head + "spec: {attachRequired: false}", true},
		"an unknown field":    {head + "spec: {attachRequird: false}", false},
		"a wrong type":        {head + "spec: {attachRequired: \"no\"}", false},
		"a field given twice": {head + "spec: {attachRequired: false}\nspec: {}", false},
		"an unknown kind":     {"apiVersion: v1\nkind: Pot\n", false},
		"a foreign kind":      {"apiVersion: cert-manager.io/v1\nkind: Issuer\nspec: {selfSigned: {}}", true},
		"its unknown field":   {"apiVersion: cert-manager.io/v1\nkind: Issuer\nspec: {selfsignd: {}}", false},
	} {
		if _, err := decode(tc.doc); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestObjects: what the API server checks beyond types, of what the chart makes.
func TestObjects(t *testing.T) {
	each(t, func(t *testing.T, all []runtime.Object) {
		seen := map[string]bool{}
		for _, o := range all {
			m, err := meta.Accessor(o)
			if err != nil {
				t.Fatal(err)
			}
			id := fmt.Sprintf("%T %s", o, m.GetName())
			if seen[id] {
				t.Errorf("%s: made twice", id)
			}
			seen[id] = true
			for _, fault := range metadataFaults(m) {
				t.Errorf("%s: %s", id, fault)
			}
			if ns := m.GetNamespace(); clusterWide(o) != (ns == "") || ns != "" && ns != namespace {
				t.Errorf("%s: is in namespace %q", id, ns)
			}
		}
		for _, pod := range pods(t, all) {
			for _, fault := range podFaults(pod) {
				t.Error(fault)
			}
		}
	})
}

// clusterWide says that objects of the type are in no namespace.
func clusterWide(o runtime.Object) bool {
	return regexp.MustCompile(`\.(Namespace|CSIDriver|StorageClass|VolumeSnapshotClass|ClusterRole|ClusterRoleBinding|ValidatingAdmissionPolicy|ValidatingAdmissionPolicyBinding)$`).
		MatchString(fmt.Sprintf("%T", o))
}

func metadataFaults(m metav1.Object) []string {
	faults := validation.IsDNS1123Subdomain(m.GetName())
	for key, value := range m.GetLabels() {
		faults = append(append(faults, validation.IsQualifiedName(key)...), validation.IsValidLabelValue(value)...)
	}
	for key := range m.GetAnnotations() {
		faults = append(faults, validation.IsQualifiedName(strings.ToLower(key))...)
	}
	for _, key := range []string{"app.kubernetes.io/name", "app.kubernetes.io/component", "app.kubernetes.io/version"} {
		if m.GetLabels()[key] == "" {
			faults = append(faults, "has no label "+key)
		}
	}
	return faults
}

// podFaults: names, and that what refers to a volume or port finds it.
func podFaults(pod corev1.PodSpec) (faults []string) {
	volumes, ports := map[string]bool{}, map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range pod.Containers {
		faults = append(faults, validation.IsDNS1123Label(c.Name)...)
		own := map[string]bool{}
		for _, p := range c.Ports {
			faults = append(append(faults, validation.IsValidPortName(p.Name)...), validation.IsValidPortNum(int(p.ContainerPort))...)
			if number := fmt.Sprint(p.ContainerPort); ports[p.Name] || ports[number] {
				faults = append(faults, fmt.Sprintf("%s: port %s (%s) is taken in this pod", c.Name, p.Name, number))
			} else {
				ports[p.Name], ports[number] = true, true
			}
			own[p.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				faults = append(faults, c.Name+": mounts "+m.Name+", which is no volume")
			}
		}
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p != nil && !own[p.HTTPGet.Port.StrVal] {
				faults = append(faults, c.Name+": probes port "+p.HTTPGet.Port.StrVal+", which it has not")
			}
		}
	}
	return faults
}
