package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/lvme/lvme/drive"
)

func parsed(t *testing.T, args ...string) Options {
	t.Helper()
	o := Options{Config: drive.DefaultConfig()}
	fs := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	o.Flags(fs, "node-1")
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestDefaultsAreValid(t *testing.T) {
	o := parsed(t)
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if o.Socket != "/run/lvme/csi.sock" || o.StateDir != "/var/lib/lvme" || o.NodeID != "node-1" || o.HTTP != "" || o.Grace != 25*time.Second || o.KubeletDir != "/var/lib/kubelet" ||
		o.ClusterAddress != "" || o.TLSDir != "/etc/lvme/tls" || o.Register != "" {
		t.Errorf("defaults %+v", o)
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want []string // flags with faults
	}{
		{"anywhere", []string{"--kubelet-dir="}, nil},
		{"a port", []string{"--http=9810"}, nil},
		{"a port with a colon", []string{"--http=:9810"}, nil},
		{"every address", []string{"--http=0.0.0.0:9810"}, nil},
		{"IPv6", []string{"--http=[::1]:9810"}, nil},
		{"no grace", []string{"--grace=0s"}, nil},
		{"relative socket", []string{"--socket=csi.sock"}, []string{"--socket"}},
		{"long socket", []string{"--socket=/" + strings.Repeat("a", maxSocket)}, []string{"--socket"}},
		{"unclean socket", []string{"--socket=/run/../etc/csi.sock"}, []string{"--socket"}},
		{"relative state", []string{"--state-dir=state"}, []string{"--state-dir"}},
		{"relative kubelet", []string{"--kubelet-dir=kubelet"}, []string{"--kubelet-dir"}},
		{"no node", []string{"--node-id="}, []string{"--node-id"}},
		{"blank node", []string{"--node-id= a"}, []string{"--node-id"}},
		{"long node", []string{"--node-id=" + strings.Repeat("n", maxNodeID+1)}, []string{"--node-id"}},
		{"no such port", []string{"--http=65536"}, []string{"--http"}},
		{"port in words", []string{"--http=localhost:metrics"}, []string{"--http"}},
		{"too many colons", []string{"--http=::1:9810"}, []string{"--http"}},
		{"in a cluster", []string{"--cluster-address=:9811", "--register=auto"}, nil},
		{"another kubelet", []string{"--register=/var/lib/k0s/kubelet/plugins_registry"}, nil},
		{"no cluster needs no certificate", []string{"--tls-dir="}, nil},
		{"cluster without a port", []string{"--cluster-address=10.0.0.1"}, []string{"--cluster-address"}},
		{"cluster port in words", []string{"--cluster-address=:lvme"}, []string{"--cluster-address"}},
		{"relative certificate", []string{"--cluster-address=:9811", "--tls-dir=tls"}, []string{"--tls-dir"}},
		{"relative registry", []string{"--register=registry"}, []string{"--register"}},
		{"long registry", []string{"--register=/" + strings.Repeat("a", maxSocket-len(registrationSocket))}, []string{"--register"}},
		{"register nowhere", []string{"--register=auto", "--kubelet-dir="}, []string{"--register"}},
		{"negative grace", []string{"--grace=-1s"}, []string{"--grace"}},
		{"all at once", []string{"--socket=a", "--state-dir=b", "--kubelet-dir=c", "--node-id=", "--http=x:y", "--grace=-1s"},
			[]string{"--socket", "--state-dir", "--kubelet-dir", "--node-id", "--http", "--grace"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := parsed(t, tc.args...)
			err := o.Validate()
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(tc.want) {
				t.Fatalf("%d faults, want %d: %v", len(lines), len(tc.want), err)
			}
			for i, flag := range tc.want {
				if !strings.HasPrefix(lines[i], flag+" is ") || !strings.Contains(lines[i], "must be ") {
					t.Errorf("fault %d is %q, want one of %s with what is allowed", i, lines[i], flag)
				}
			}
		})
	}
}

func TestValidateWantsAClass(t *testing.T) {
	o := parsed(t)
	o.Config = drive.Config{}
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "class") {
		t.Errorf("got %v", err)
	}
}
