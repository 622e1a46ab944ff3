package control

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lvme/lvme/test/cluster/parts"
)

// controllerName is the name of the Deployment, of its ServiceAccount and of the lease.
const controllerName = "lvme-controller"

// replica are the containers of one pod of the controller, as processes.
type replica struct {
	pod       string
	socket    string
	http      string // host:port of lvme
	processes map[string]*process
}

// startReplicas starts the containers of the Deployment's pods with the flags that the Deployment has, and with the
// token of its ServiceAccount.
func (r *rig) startReplicas(t *testing.T, lvme string) {
	t.Helper()
	deployment, err := r.client.AppsV1().Deployments(namespace).Get(t.Context(), controllerName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pods *corev1.PodList
	await(t, "the Deployment has its pods", func(ctx context.Context) (bool, string) {
		pods, err = r.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=controller"})
		return err == nil && len(pods.Items) == int(*deployment.Spec.Replicas), fmt.Sprint(err)
	})
	config := r.token(t)
	for i, pod := range pods.Items {
		x := &replica{pod: pod.Name, processes: map[string]*process{}}
		address := fmt.Sprintf("127.0.1.%d", 1+i)
		dir := filepath.Join(r.dir, pod.Name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		x.socket, x.http = filepath.Join(dir, "csi", "csi.sock"), address+":9820"
		adapt := strings.NewReplacer("/run/lvme/csi/csi.sock", x.socket, "$(POD_NAMESPACE)", namespace, "0.0.0.0:", address+":", "=:", "="+address+":")
		for _, c := range deployment.Spec.Template.Spec.Containers {
			p := &process{host: pod.Name, log: filepath.Join(dir, c.Name+".log")}
			p.env = []string{"PATH=" + os.Getenv("PATH"), "POD_NAME=" + pod.Name, "POD_NAMESPACE=" + namespace, "NAMESPACE=" + namespace}
			p.argv = []string{lvme}
			if c.Name != "controller" {
				p.argv = []string{r.set.Path(parts.Part(c.Name)), "--leader-election-namespace=" + namespace}
			}
			for _, arg := range c.Args {
				p.argv = append(p.argv, adapt.Replace(arg))
			}
			if c.Name == "controller" {
				p.argv[1], p.argv = "controller", append(p.argv, "--v=3")
			}
			p.argv = append(p.argv, "--kubeconfig="+config)
			x.processes[c.Name] = p
		}
		r.replicas = append(r.replicas, x)
		x.start(t)
		t.Cleanup(x.kill)
	}
}

// token writes a kubeconfig with a token of the controller's ServiceAccount.
func (r *rig) token(t *testing.T) (file string) {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64((3 * time.Hour).Seconds()))}}
	token, err := r.client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), controllerName, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(r.plane.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range config.AuthInfos {
		who.ClientCertificateData, who.ClientKeyData, who.Token = nil, nil, token.Status.Token
	}
	file = filepath.Join(r.dir, "controller.kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func (x *replica) start(t *testing.T) {
	t.Helper()
	for _, p := range x.processes {
		p.start(t)
	}
}

// kill ends all of it, as the end of its machine does.
func (x *replica) kill() {
	for _, p := range x.processes {
		p.kill()
	}
}

// ready is nil when the controller says that it is.
func (x *replica) ready(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+x.http+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s says %s", x.pod, answer.Status)
	}
	return nil
}

// metric is the value of a metric of the controller, "" if it has none of that name.
func (x *replica) metric(t *testing.T, name string) string {
	t.Helper()
	answer, err := http.Get("http://" + x.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return value
		}
	}
	return ""
}

// leader is the replica that holds a lease.
func (r *rig) leader(t *testing.T, lease string) *replica {
	t.Helper()
	var leader *replica
	await(t, "somebody leads "+lease, func(ctx context.Context) (bool, string) {
		l, err := r.client.CoordinationV1().Leases(namespace).Get(ctx, lease, metav1.GetOptions{})
		if err != nil || l.Spec.HolderIdentity == nil {
			return false, fmt.Sprint(err)
		}
		for _, x := range r.replicas {
			if strings.HasPrefix(*l.Spec.HolderIdentity, x.pod) {
				leader = x
			}
		}
		return leader != nil, *l.Spec.HolderIdentity
	})
	return leader
}

// testRights: whatever went before, nobody was ever refused anything by the API server. It is not for after a restart of
// the API server, which refuses everything until it has read its rules.
func testRights(t *testing.T, r *rig) {
	lines := 0
	for _, x := range r.replicas {
		for name, p := range x.processes {
			text, err := os.ReadFile(p.log)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				lines++
				if low := strings.ToLower(line); strings.Contains(low, "forbidden") || strings.Contains(low, "denied") {
					t.Errorf("%s: %s", name, line)
				}
			}
		}
	}
	if lines == 0 {
		t.Error("nobody has said anything")
	}
	t.Logf("nothing was refused in %d lines of logs", lines)
}

// restarts are those of all processes.
func (r *rig) restarts() (n int) {
	for _, x := range r.replicas {
		for _, p := range x.processes {
			n += p.restarts()
		}
	}
	return n
}
